// Two statements that one worker signed and that cannot both be true: evidence that anybody can check with the worker's public key and nothing else.
import { verifySignature } from "./signatures.ts";

/** How many lines at the beginning of a signed text say what it is about, by its first line. All that follows is what is said. */
const SUBJECT_LINES: ReadonlyMap<string, number> = new Map([
  /** Kind, job, replica, epoch, number: a worker signs one line of its account under each number. */
  ["qubix-tick-v1", 5],
]);

interface SignedStatement {
  readonly text: string;
  readonly signature: string;
}

/** Why `evidence` shows no contradiction of the owner of this key (raw Ed25519, base64url); null where it does. */
export function contradictionFault(publicKey: string, evidence: unknown): string | null {
  const statements = statementsOf(evidence);
  if (statements === undefined) return "evidence.statements must be two of { text, signature }";
  const [first, second] = statements;
  for (const [n, { text, signature }] of statements.entries()) {
    if (!verifySignature(publicKey, text, signature)) return `statement ${n + 1} is not signed with the worker's key`;
  }
  const subject = subjectOf(first.text);
  if (subject === undefined) return "these are no statements of which a worker signs only one";
  if (subject !== subjectOf(second.text)) return "the statements are about different things";
  return first.text === second.text ? "the statements say the same" : null;
}

function statementsOf(evidence: unknown): readonly [SignedStatement, SignedStatement] | undefined {
  if (typeof evidence !== "object" || evidence === null || !("statements" in evidence)) return undefined;
  const { statements } = evidence;
  if (!Array.isArray(statements) || statements.length !== 2 || !statements.every(isStatement)) return undefined;
  return statements as unknown as readonly [SignedStatement, SignedStatement];
}

function isStatement(value: unknown): value is SignedStatement {
  if (typeof value !== "object" || value === null || !("text" in value) || !("signature" in value)) return false;
  return typeof value.text === "string" && typeof value.signature === "string";
}

function subjectOf(text: string): string | undefined {
  const lines = text.split("\n");
  const count = SUBJECT_LINES.get(lines[0] ?? "");
  return count === undefined || lines.length <= count ? undefined : lines.slice(0, count).join("\n");
}
