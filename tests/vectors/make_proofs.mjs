// Documents that prove something, and such that do not: node tests/vectors/make_proofs.mjs > tests/vectors/proofs.json
//
// Like make_receipts.mjs it shares no code with the project, and every run writes the same file. Each case
// has the document byte for byte, what it is checked against, and which check must fail, or null.
import { createHash, createPrivateKey, createPublicKey, sign } from "node:crypto";

const PKCS8_ED25519_PREFIX = Buffer.from("302e020100300506032b657004220420", "hex");
const NETWORK = "solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1";
const JOB = "3f2c9a54-6d0b-4c1e-9a77-0b1d2e3f4a5b";

function keyFrom(byte) {
  const privateKey = createPrivateKey({
    key: Buffer.concat([PKCS8_ED25519_PREFIX, Buffer.alloc(32, byte)]),
    format: "der",
    type: "pkcs8",
  });
  const spki = createPublicKey(privateKey).export({ format: "der", type: "spki" });
  return {
    pubkey: spki.subarray(spki.length - 32).toString("hex"),
    sign: (text) => sign(null, Buffer.from(text, "utf8"), privateKey).toString("base64"),
  };
}

const sha256 = (text) => createHash("sha256").update(text, "utf8").digest("hex");
const worker = keyFrom(1);
const otherWorker = keyFrom(2);
const coordinator = keyFrom(3);
const otherCoordinator = keyFrom(4);

const REQUEST = '{"task_type" : "summarize", "input":"caf\\u00e9"}';
const OUTPUT = '{"summary":"Short and plain.","word_count":3}';
const FLOATS = '{"x":1.0e5,"y":-0.0,"z":[1E400,0.10]}';
const UNICODE = '{"text":"Gr\\u00fc\\u00dfe, 日本 \\ud83d\\ude80 \u2028"}';

function receiptOf(output, changes = {}) {
  return {
    job_id: JOB,
    provider_pubkey: worker.pubkey,
    output_hash: sha256(output),
    completed_at: "2026-02-09T12:00:05.000Z",
    payment_ref: null,
    request_hash: sha256(REQUEST),
    model: null,
    model_digest: null,
    attempt: 1,
    ...changes,
  };
}

const fiveKeys = (output) => Object.fromEntries(Object.entries(receiptOf(output)).slice(0, 5));

function documentOf(text, output, { signature, statement: changed = {}, by = coordinator, ...changes } = {}) {
  signature ??= text === null ? null : worker.sign(text);
  const verified = changes.verified ?? text !== null;
  const statement = JSON.stringify({
    domain: "compute-router/countersign/v1",
    network: NETWORK,
    job_id: JOB,
    receipt_hash: text === null ? null : sha256(text),
    signature,
    verified,
    completed_at: "2026-02-09T12:00:05.250Z",
    output_hash: sha256(output),
    ...changed,
  });
  return {
    job_id: JOB,
    network: NETWORK,
    receipt: text,
    signature,
    provider_pubkey: worker.pubkey,
    verified,
    statement,
    coordinator_signature: by.sign(statement),
    coordinator_pubkey: by.pubkey,
    ...changes,
  };
}

// A job answer has receipt and result as JSON, so it is put together as text.
function answerOf(text, output, { signature = worker.sign(text), id = JOB } = {}) {
  const proof = JSON.stringify({ signature, verified: true });
  const shown = `${text.slice(0, -1)},${proof.slice(1)}`;
  return (
    `{"id":"${id}","status":"completed","result":${output},"receipt":${shown},` +
    '"created_at":"2026-02-09T12:00:00.000Z","completed_at":"2026-02-09T12:00:05.250Z"}'
  );
}

const good = JSON.stringify(receiptOf(OUTPUT));
const reversed = (text) => JSON.stringify(Object.fromEntries(Object.entries(JSON.parse(text)).reverse()));
const again = (text) => JSON.stringify(JSON.parse(text), null, 2);

const cases = [];
// Everything is asked for unless the case says otherwise.
function add(name, document, failing = null, asked = {}) {
  cases.push({
    name,
    document: typeof document === "string" ? document : JSON.stringify(document),
    output: OUTPUT,
    request: REQUEST,
    coordinator_key: coordinator.pubkey,
    ...asked,
    failing,
  });
}
const receiptOnly = { coordinator_key: null };

add("a receipt with nine keys, countersigned", documentOf(good, OUTPUT));
add("the same document reformatted", JSON.stringify(documentOf(good, OUTPUT), null, 4));
add("the same document, with nothing to compare it with", documentOf(good, OUTPUT), null, {
  output: null,
  request: null,
  coordinator_key: null,
});
add("a model", documentOf(JSON.stringify(receiptOf(OUTPUT, { model: "llama3.2:1b", model_digest: "ab".repeat(32) })), OUTPUT));
add("a key that later versions may add", documentOf(JSON.stringify({ ...receiptOf(OUTPUT), note: "é" }), OUTPUT));
add("a receipt with the five keys", documentOf(JSON.stringify(fiveKeys(OUTPUT)), OUTPUT), null, { request: null });
for (const [name, output] of [["numbers that encoders rewrite", FLOATS], ["text outside ASCII", UNICODE]]) {
  const text = JSON.stringify(receiptOf(output));
  add(name, documentOf(text, output), null, { output });
  add(`${name}, in a job answer`, answerOf(text, output), null, { output, ...receiptOnly });
}
add("a receipt with spaces, signed as it is", documentOf(again(good), OUTPUT));
add("a bare receipt", { receipt: good, signature: worker.sign(good) }, null, receiptOnly);
add("a job answer", answerOf(good, OUTPUT), null, receiptOnly);

// What must fail, by the check that finds it.
add("no receipt", documentOf(null, OUTPUT), "receipt", { request: null });
add("no receipt but a key", documentOf(JSON.stringify({ job_id: JOB }), OUTPUT), "form");
add("a key that is there twice", documentOf(`{"job_id":"other",${good.slice(1)}`, OUTPUT), "form");
add("upper case in a hash", documentOf(good.replace(sha256(OUTPUT), sha256(OUTPUT).toUpperCase()), OUTPUT), "form");
add("a job answer that was reformatted", again(answerOf(good, OUTPUT)), "form", receiptOnly);
add("another job", documentOf(JSON.stringify(receiptOf(OUTPUT, { job_id: "another" })), OUTPUT), "job");
add("a job answer about another job", answerOf(good, OUTPUT, { id: "another" }), "job", receiptOnly);
add("another worker than the document names", documentOf(JSON.stringify(receiptOf(OUTPUT, { provider_pubkey: otherWorker.pubkey })), OUTPUT), "key");
add("a swapped output", documentOf(good, OUTPUT), "output", { output: '{"summary":"Another.","word_count":1}' });
add("an output that was encoded again", documentOf(JSON.stringify(receiptOf(FLOATS)), FLOATS), "output", { output: JSON.stringify(JSON.parse(FLOATS)) });
add("text that was encoded again", documentOf(JSON.stringify(receiptOf(UNICODE)), UNICODE), "output", { output: JSON.stringify(JSON.parse(UNICODE)) });
add("a job answer whose result was swapped", answerOf(good, '{"summary":"Another.","word_count":1}'), "hash", { output: null, ...receiptOnly });
add("a receipt that was reordered", documentOf(reversed(good), OUTPUT, { signature: worker.sign(good) }), "signature");
add("a receipt that was encoded again", documentOf(again(good), OUTPUT, { signature: worker.sign(good) }), "signature");
add("a receipt by another key", documentOf(good, OUTPUT, { signature: otherWorker.sign(good) }), "signature");
add("a signature over something else", documentOf(good, OUTPUT, { signature: worker.sign("something else") }), "signature");
add("a stub signature", documentOf(good, OUTPUT, { signature: "stub" }), "signature");
add("a signature in base64 without its padding", documentOf(good, OUTPUT, { signature: worker.sign(good).replace(/=+$/, "") }), "signature");
add("a later attempt written into a signed receipt", documentOf(good.replace('"attempt":1', '"attempt":2'), OUTPUT, { signature: worker.sign(good) }), "signature");
add("another request", documentOf(good, OUTPUT), "request", { request: '{"task_type":"summarize","input":"other"}' });
add("a request that was encoded again", documentOf(good, OUTPUT), "request", { request: JSON.stringify(JSON.parse(REQUEST)) });
add("a request that the receipt does not name", documentOf(JSON.stringify(fiveKeys(OUTPUT)), OUTPUT), "request");
add("no statement", { receipt: good, signature: worker.sign(good) }, "statement");
add("a statement about another job", documentOf(good, OUTPUT, { statement: { job_id: "another" } }), "statement");
add("a statement about another network", documentOf(good, OUTPUT, { statement: { network: "eip155:10143" } }), "statement");
add("a statement about another receipt", documentOf(good, OUTPUT, { statement: { receipt_hash: sha256("x") } }), "statement");
add("a statement about another signature", documentOf(good, OUTPUT, { statement: { signature: "stub" } }), "statement");
add("a statement about another output", documentOf(good, OUTPUT, { statement: { output_hash: sha256("x") } }), "statement");
add("a statement with another verdict", documentOf(good, OUTPUT, { statement: { verified: false } }), "statement");
add("a statement of another kind", documentOf(good, OUTPUT, { statement: { domain: "compute-router/other/v1" } }), "statement");
add("a statement by another coordinator", documentOf(good, OUTPUT, { by: otherCoordinator }), "coordinator");
add("a statement that was not signed", documentOf(good, OUTPUT, { coordinator_signature: otherCoordinator.sign("x") }), "countersign");

console.log(JSON.stringify(cases, null, 1));
