// Opens wraps that it reads as JSON with hpke-js, and seals to public keys. All bytes are in hexadecimal.
"use strict";
const { Aes256Gcm, CipherSuite, DhkemP256HkdfSha256, HkdfSha256 } = require("@hpke/core");
const { XWing } = require("@hpke/hybridkem-x-wing");

const kems = { P256: DhkemP256HkdfSha256, MLKEM768_X25519: XWing };
const bytes = (text) => new Uint8Array(Buffer.from(text, "hex"));
const hex = (data) => Buffer.from(data).toString("hex");

async function answer({ suite, make, key, publicKey, wrapped, info, content }) {
  const hpke = new CipherSuite({ kem: new kems[suite](), kdf: new HkdfSha256(), aead: new Aes256Gcm() });
  if (make) {
    const pair = await hpke.kem.generateKeyPair();
    return {
      key: hex(await hpke.kem.serializePrivateKey(pair.privateKey)),
      publicKey: hex(await hpke.kem.serializePublicKey(pair.publicKey)),
    };
  }
  if (content !== undefined) {
    const recipientPublicKey = await hpke.kem.deserializePublicKey(bytes(publicKey));
    const sealed = await hpke.seal({ recipientPublicKey, info: bytes(info) }, bytes(content));
    return { wrapped: hex(sealed.enc) + hex(sealed.ct) };
  }
  const recipientKey = await hpke.kem.deserializePrivateKey(bytes(key));
  const all = bytes(wrapped);
  const [enc, ct] = [all.slice(0, hpke.kem.encSize), all.slice(hpke.kem.encSize)];
  try {
    return { content: hex(await hpke.open({ recipientKey, enc, info: bytes(info) }, ct)) };
  } catch {
    return { content: null };
  }
}

let text = "";
process.stdin.on("data", (part) => (text += part));
process.stdin.on("end", async () => {
  const answers = [];
  for (const one of JSON.parse(text)) answers.push(await answer(one));
  process.stdout.write(JSON.stringify(answers));
});
