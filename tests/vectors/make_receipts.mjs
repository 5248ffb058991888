// Known-answer vectors for receipts, made by Node.js alone: node tests/vectors/make_receipts.mjs > tests/vectors/receipts.json
//
// This signer shares no code with the project: JSON.stringify for the texts, node:crypto for SHA-256 and
// ed25519. ed25519 is deterministic, so every run writes the same file.
import { createHash, createPrivateKey, createPublicKey, sign } from "node:crypto";

const PKCS8_ED25519_PREFIX = Buffer.from("302e020100300506032b657004220420", "hex");

function keyFromSeed(seed) {
  const privateKey = createPrivateKey({
    key: Buffer.concat([PKCS8_ED25519_PREFIX, seed]),
    format: "der",
    type: "pkcs8",
  });
  const spki = createPublicKey(privateKey).export({ format: "der", type: "spki" });
  return { privateKey, publicKey: spki.subarray(spki.length - 32) };
}

const sha256 = (text) => createHash("sha256").update(text, "utf8").digest("hex");

function vector(name, seedByte, outputJson, { jobId, completedAt, paymentRef = null, extra = {} }) {
  const seed = Buffer.alloc(32, seedByte);
  const { privateKey, publicKey } = keyFromSeed(seed);
  const receiptJson = JSON.stringify({
    job_id: jobId,
    provider_pubkey: publicKey.toString("hex"),
    output_hash: sha256(outputJson),
    completed_at: completedAt,
    payment_ref: paymentRef,
    ...extra,
  });
  return {
    name,
    seed: seed.toString("hex"),
    provider_pubkey: publicKey.toString("hex"),
    job_id: jobId,
    completed_at: completedAt,
    output_json: outputJson,
    output_hash: sha256(outputJson),
    receipt_json: receiptJson,
    receipt_hash: sha256(receiptJson),
    signature: sign(null, Buffer.from(receiptJson, "utf8"), privateKey).toString("base64"),
  };
}

const vectors = [
  vector("a summary", 1, JSON.stringify({ summary: "Short and plain.", word_count: 3 }), {
    jobId: "3f2c9a54-6d0b-4c1e-9a77-0b1d2e3f4a5b",
    completedAt: "2026-02-09T12:00:05.000Z",
  }),
  vector("text outside ASCII", 2, JSON.stringify({ text: "Grüße, 世界 🚀 \u2028 e\u0301", model: "llama3.2:1b" }), {
    jobId: "00000000000000000000000000000002",
    completedAt: "1999-12-31T23:59:59.999Z",
  }),
  vector(
    "numbers that encoders write differently",
    3,
    JSON.stringify({ extracted: [1e21, 1e-7, 0.1 + 0.2, 5e-324, -0, 1.0, 100000, 1.7976931348623157e308], count: 8 }),
    { jobId: "00000000000000000000000000000003", completedAt: "2026-07-01T00:00:00.001Z" },
  ),
  vector("control characters and a lone surrogate", 4, JSON.stringify({ text: '\u0000\b\t\n\u001f"\\/\u007f\ud800' }), {
    jobId: "00000000000000000000000000000004",
    completedAt: "2024-02-29T08:09:10.011Z",
  }),
  vector("an output that is no object", 5, JSON.stringify(null), {
    jobId: "00000000000000000000000000000005",
    completedAt: "1970-01-01T00:00:00.000Z",
  }),
  vector("text as another encoder wrote it", 6, '{ "sentiment": "n\\u00e9gative", "confidence": 1.0e0, "n": 1.50 }', {
    jobId: "00000000000000000000000000000006",
    completedAt: "2026-02-09T12:00:05.123Z",
  }),
  vector("a payment reference", 7, JSON.stringify({ text: "paid" }), {
    jobId: "00000000000000000000000000000007",
    completedAt: "2026-02-09T12:00:05.000Z",
    paymentRef: "0x5d1f",
  }),
  vector("keys after the five", 8, JSON.stringify({ text: "longer receipt" }), {
    jobId: "00000000000000000000000000000008",
    completedAt: "2026-02-09T12:00:05.000Z",
    extra: { model: "llama3.2:1b", attempt: 2, note: "é", ratio: 0.30000000000000004 },
  }),
];

console.log(JSON.stringify(vectors, null, 2));
