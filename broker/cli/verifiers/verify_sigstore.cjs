'use strict'
// Checks record.sigstore.json with @sigstore/verify, which is not of the makers of case-exchange.
//
// Usage: node verify_sigstore.cjs, in the folder of the export, after the `npm install` that was printed with it.
//
// It ends with status 0 if the signature is over record.pae. If the bundle has a timestamp, the certificate in it must
// be that of signer.pem's agency, of the authority in trusted_root.json, and valid at the time of the timestamp. If
// not, the key is that of signer.pem, and the `openssl verify` that was printed with the export checks the certificate.
const { X509Certificate } = require('node:crypto')
const { readFileSync } = require('node:fs')
const { join } = require('node:path')
const { bundleFromJSON } = require('@sigstore/bundle')
const { TrustedRoot } = require('@sigstore/protobuf-specs')
const { Verifier, toSignedEntity, toTrustMaterial } = require('@sigstore/verify')

// Returns a function of a bundle (the text of a JSON document) and its artifact. It throws if the bundle does not hold.
function verifier(trustedRootText, signerPem) {
  const signer = new X509Certificate(signerPem)
  const hint = signer.fingerprint256.replaceAll(':', '').toLowerCase()
  const keys = { [hint]: { rawBytes: signer.publicKey.export({ type: 'spki', format: 'der' }) } }
  const trust = toTrustMaterial(TrustedRoot.fromJSON(JSON.parse(trustedRootText)), keys)
  const identity = { subjectAlternativeName: signer.subjectAltName.replace(/^URI:/, '') }
  return (bundleText, artifact) => {
    const bundle = bundleFromJSON(JSON.parse(bundleText))
    const stamped = bundle.verificationMaterial.content.$case === 'certificate'
    const stamps = stamped ? 1 : 0
    // There is no certificate transparency for these certificates, and the exchange's log is not of Rekor's form.
    const options = { ctlogThreshold: 0, tlogThreshold: 0, tsaThreshold: stamps, timestampThreshold: stamps }
    new Verifier(trust, options).verify(toSignedEntity(bundle, artifact), stamped ? identity : undefined)
  }
}

module.exports = { verifier }

if (require.main === module) {
  const read = (name) => readFileSync(join(__dirname, name))
  try {
    const verify = verifier(read('trusted_root.json').toString(), read('signer.pem'))
    verify(read('record.sigstore.json').toString(), read('record.pae'))
  } catch (error) {
    console.error(`NOT VERIFIED: ${error.message}`)
    process.exit(1)
  }
  console.log('verified by @sigstore/verify')
}
