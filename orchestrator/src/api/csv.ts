// CSV by RFC 4180: commas, CRLF, quotes where they are needed. What users named is made harmless for spreadsheets, which take some texts for formulas.
import { formatUnits } from "@qubix/shared/domain";

/** Text that somebody wrote; or figures, times and ids of ours. */
export type Cell = { readonly said: string } | string | number;

/** One row with its line end. */
export function csvRow(cells: readonly Cell[]): string {
  return `${cells.map(cellText).join(",")}\r\n`;
}

/** Micro-units (a decimal string) as a decimal number of whole units, exact. */
export function csvUnits(amount: string): string {
  return formatUnits(BigInt(amount));
}

function cellText(cell: Cell): string {
  const text = typeof cell === "object" ? harmless(cell.said) : String(cell);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** A leading apostrophe makes a spreadsheet take it for text (OWASP, "CSV Injection"). White space before it does not protect. */
function harmless(text: string): string {
  return /^\s*[=+\-@\t\r|%]/.test(text) ? `'${text}` : text;
}
