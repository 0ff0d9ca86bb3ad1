// Plain tables: a header, columns as wide as their widest cell, two spaces between. No control codes but the colours asked for.
import type { Colors } from "../session.ts";
import { printable } from "./units.ts";

export interface Column<Row> {
  readonly title: string;
  readonly value: (row: Row) => string;
  readonly align?: "left" | "right";
  /** Applied to the padded cell. */
  readonly paint?: (text: string, row: Row) => string;
}

/** The lines of the table, without a line end. */
export function formatTable<Row>(
  columns: readonly Column<Row>[],
  rows: readonly Row[],
  colors: Colors,
  indent = "",
): string {
  const cells = rows.map((row) => columns.map((column) => printable(column.value(row))));
  const widths = columns.map((column, at) =>
    Math.max(column.title.length, ...cells.map((line) => line[at]?.length ?? 0)),
  );
  const pad = (text: string, at: number): string => {
    const width = widths[at] ?? 0;
    if (columns[at]?.align === "right") return text.padStart(width);
    return at === columns.length - 1 ? text : text.padEnd(width);
  };
  const header = columns.map((column, at) => pad(column.title, at)).join("  ");
  const lines = rows.map((row, index) =>
    columns
      .map((column, at) => {
        const cell = pad(cells[index]?.[at] ?? "", at);
        return column.paint === undefined ? cell : column.paint(cell, row);
      })
      .join("  ")
      .trimEnd(),
  );
  return [colors.dim(header.trimEnd()), ...lines].map((line) => `${indent}${line}`).join("\n");
}

/** A label, what it says (null: the line is left out), and how that is painted. */
export type Field = readonly [label: string, value: string | null, paint?: (text: string) => string];

/** `label  value` lines, values in one column; entries without a value are left out. */
export function formatFields(fields: readonly Field[], colors: Colors): string {
  const width = Math.max(...fields.map(([label, value]) => (value === null ? 0 : label.length)));
  return fields
    .flatMap(([label, value, paint = (text: string) => text]) =>
      value === null ? [] : [`${colors.dim(label.padEnd(width))}  ${paint(printable(value))}`],
    )
    .join("\n");
}
