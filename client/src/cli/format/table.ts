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

/** `label  value` lines, values in one column; entries without a value are left out. */
export function formatFields(fields: readonly (readonly [string, string | null])[], colors: Colors): string {
  const present = fields.filter((field): field is readonly [string, string] => field[1] !== null);
  const width = Math.max(...present.map(([label]) => label.length));
  return present.map(([label, value]) => `${colors.dim(label.padEnd(width))}  ${value}`).join("\n");
}
