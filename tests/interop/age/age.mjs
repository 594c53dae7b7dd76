// Makes identities, and seals and opens files that it reads as JSON, with age-encryption. Content is in hexadecimal.
import { Decrypter, Encrypter, generateX25519Identity, identityToRecipient } from "age-encryption";

const bytes = (text) => new Uint8Array(Buffer.from(text, "hex"));
const hex = (data) => Buffer.from(data).toString("hex");

async function answer({ make, identity, recipient, sealed, content }) {
  if (make) {
    const made = await generateX25519Identity();
    return { identity: made, recipient: await identityToRecipient(made) };
  }
  if (content !== undefined) {
    const encrypter = new Encrypter();
    encrypter.addRecipient(recipient);
    return { sealed: hex(await encrypter.encrypt(bytes(content))) };
  }
  const decrypter = new Decrypter();
  decrypter.addIdentity(identity);
  try {
    return { content: hex(await decrypter.decrypt(bytes(sealed))) };
  } catch {
    return { content: null };
  }
}

const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const answers = [];
for (const asked of JSON.parse(Buffer.concat(chunks).toString())) answers.push(await answer(asked));
process.stdout.write(JSON.stringify(answers));
