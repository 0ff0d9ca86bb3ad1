export { dayBefore, type Days, daysBetween } from "./days.ts";
export { earningsBy, earningsJobs, earningsTotals } from "./earnings.ts";
export { providedFor, type ReceiptPorts, type ReceiptView, receiptOf } from "./receipt.ts";
export { statementDays, statementJobs } from "./statements.ts";
