// A verifier written from docs/receipts.md alone: node tests/vectors/verify_proof.mjs < proofs.json
//
// Reads cases as in proofs.json and prints, for each, the name of the first check that fails, or null.
import { createHash, createPublicKey, verify } from "node:crypto";
import { readFileSync } from "node:fs";

const SPKI_ED25519_PREFIX = Buffer.from("302a300506032b6570032100", "hex");
const HEX64 = /^[0-9a-f]{64}$/;
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;
const sha256 = (text) => createHash("sha256").update(text, "utf8").digest("hex");

function signatureHolds(pubkey, text, signature) {
  const bytes = Buffer.from(signature ?? "", "base64");
  if (bytes.length !== 64 || bytes.toString("base64") !== signature) return false;
  const key = Buffer.concat([SPKI_ED25519_PREFIX, Buffer.from(pubkey, "hex")]);
  return verify(null, Buffer.from(text, "utf8"), createPublicKey({ key, format: "der", type: "spki" }), bytes);
}

// The raw text of a member of the outermost object. JSON.parse would lose the bytes.
function rawMembers(text) {
  const members = new Map();
  let depth = 0, inString = false, start = 0, name = null;
  for (let at = 0; at < text.length; at++) {
    const char = text[at];
    if (inString) {
      if (char === "\\") at++;
      else if (char === '"') inString = false;
    } else if (char === '"') inString = true;
    else if (char === "{" || char === "[") { if (++depth === 1) start = at + 1; }
    else if (char === ":" && depth === 1 && name === null) { name = JSON.parse(text.slice(start, at)); start = at + 1; }
    else if ((char === "," && depth === 1) || ((char === "}" || char === "]") && --depth === 0)) {
      if (name !== null) {
        if (members.has(name)) throw new Error("a key is there twice");
        members.set(name, text.slice(start, at).trim());
      }
      name = null;
      start = at + 1;
    }
  }
  return members;
}

function readDocument(text) {
  const members = rawMembers(text);
  if (!members.has("result")) return JSON.parse(text);
  const document = { job_id: JSON.parse(members.get("id")), result: members.get("result"), receipt: null };
  const shown = members.get("receipt");
  if (shown === "null") return document;
  const { signature, verified } = JSON.parse(shown);
  const suffix = `,"signature":${JSON.stringify(signature)},"verified":${verified}}`;
  if (!shown.endsWith(suffix)) return { ...document, receipt: "" };
  return { ...document, signature, receipt: `${shown.slice(0, -suffix.length)}}` };
}

function readReceipt(text) {
  try {
    rawMembers(text);
    const receipt = JSON.parse(text);
    const isText = (value) => typeof value === "string";
    const orNull = (value, good) => value === undefined || value === null || good(value);
    const formed =
      isText(receipt.job_id) && HEX64.test(receipt.provider_pubkey) && HEX64.test(receipt.output_hash) &&
      TIME.test(receipt.completed_at) && "payment_ref" in receipt && orNull(receipt.payment_ref, isText) &&
      orNull(receipt.request_hash, (hash) => HEX64.test(hash)) && orNull(receipt.model, isText) &&
      orNull(receipt.model_digest, isText) && orNull(receipt.attempt, (number) => number >= 1);
    return formed ? receipt : null;
  } catch {
    return null;
  }
}

function firstFailure({ document: text, output, request, coordinator_key: key }) {
  const document = readDocument(text);
  if (document.receipt === null) return "receipt";
  const receipt = readReceipt(document.receipt);
  if (receipt === null) return "form";
  if (document.job_id !== undefined && receipt.job_id !== document.job_id) return "job";
  if (document.provider_pubkey !== undefined && receipt.provider_pubkey !== document.provider_pubkey) return "key";
  if (document.result !== undefined && sha256(document.result) !== receipt.output_hash) return "hash";
  if (output !== null && sha256(output) !== receipt.output_hash) return "output";
  if (!signatureHolds(receipt.provider_pubkey, document.receipt, document.signature)) return "signature";
  if (request !== null && receipt.request_hash !== sha256(request)) return "request";
  if (document.statement === undefined) return key === null ? null : "statement";
  const statement = JSON.parse(document.statement);
  const stated =
    statement.domain === "compute-router/countersign/v1" &&
    statement.network === document.network &&
    statement.job_id === document.job_id &&
    statement.receipt_hash === sha256(document.receipt) &&
    statement.signature === document.signature &&
    statement.verified === document.verified &&
    (!statement.verified || statement.output_hash === receipt.output_hash) &&
    (output === null || statement.output_hash === sha256(output));
  if (!stated) return "statement";
  if (key !== null && document.coordinator_pubkey !== key) return "coordinator";
  return signatureHolds(document.coordinator_pubkey, document.statement, document.coordinator_signature) ? null : "countersign";
}

const cases = JSON.parse(readFileSync(0, "utf8"));
console.log(JSON.stringify(cases.map(firstFailure)));
