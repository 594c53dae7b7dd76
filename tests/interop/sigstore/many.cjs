'use strict'
// Answers which of many altered sigstore bundles hold, in one process, with the program that an export brings along.
//
// Standard input: one JSON object.
//   program  the path of verify_sigstore.cjs
//   good     {bundle, artifact, root, signer}: texts, the artifact in base64
//   cases    more objects of this form
//   flips    pairs of a part and a bit: `good` with this bit of the part's bytes flipped
// Standard output: {cases: [true or false, ...], flips: [...]}; true: it holds.
const { readFileSync } = require('node:fs')

const { program, good, cases, flips } = JSON.parse(readFileSync(0))
const { verifier } = require(program)

const verifiers = new Map()

function verifierFor(root, signer) {
  const key = root + signer
  if (!verifiers.has(key)) verifiers.set(key, verifier(root, signer))
  return verifiers.get(key)
}

const PARTS = {
  signature: (bundle) => [bundle.messageSignature, 'signature'],
  digest: (bundle) => [bundle.messageSignature.messageDigest, 'digest'],
  certificate: (bundle) => [bundle.verificationMaterial.certificate, 'rawBytes'],
  timestamp: (bundle) => [bundle.verificationMaterial.timestampVerificationData.rfc3161Timestamps[0], 'signedTimestamp']
}

function flipped(text, bit) {
  const bytes = Buffer.from(text, 'base64')
  bytes[bit >> 3] ^= 1 << (bit & 7)
  return bytes.toString('base64')
}

function altered([part, bit]) {
  if (part === 'artifact') return { ...good, artifact: flipped(good.artifact, bit) }
  const bundle = JSON.parse(good.bundle)
  const [place, key] = PARTS[part](bundle)
  place[key] = flipped(place[key], bit)
  return { ...good, bundle: JSON.stringify(bundle) }
}

function holds({ bundle, artifact, root, signer }) {
  try {
    verifierFor(root, signer)(bundle, Buffer.from(artifact, 'base64'))
  } catch {
    return false
  }
  return true
}

process.stdout.write(JSON.stringify({ cases: cases.map(holds), flips: flips.map((flip) => holds(altered(flip))) }))
