// Maintenance windows: one-off times at which the machine is taken out of service, in local wall time. `2026-12-01T02:00/2h`. Pure: the caller gives the time.

export interface MaintenanceWindow {
  readonly from: Date;
  readonly to: Date;
}

/** What a window means at a moment. `nearing`: what runs is moved away in good order. `under`: the machine is to be empty. */
export type MaintenanceState =
  | { readonly kind: "none" }
  | { readonly kind: "nearing" | "under"; readonly window: MaintenanceWindow };

/** So long before a window no job is taken and what runs is moved: images and checkpoints over home lines. */
export const MAINTENANCE_LEAD_MS = 15 * 60_000;
/** More than anybody plans, and few enough to look through often. */
export const MAINTENANCE_WINDOWS_MAX = 50;
const MS = { m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

/** Reads windows. Gives the reason where one cannot be read. */
export function parseMaintenance(
  texts: readonly string[],
):
  | { readonly kind: "ok"; readonly windows: readonly MaintenanceWindow[] }
  | { readonly kind: "invalid"; readonly why: string } {
  if (texts.length > MAINTENANCE_WINDOWS_MAX) {
    return { kind: "invalid", why: `at most ${MAINTENANCE_WINDOWS_MAX} windows` };
  }
  const windows: MaintenanceWindow[] = [];
  for (const text of texts) {
    const window = parseWindow(text);
    if (window === undefined) {
      const why = `"${text}" is no window: a local time and a length, e.g. 2026-12-01T02:00/2h (m, h or d)`;
      return { kind: "invalid", why };
    }
    windows.push(window);
  }
  return { kind: "ok", windows };
}

/** The state at a moment; of several windows the one that begins first. */
export function maintenanceAt(windows: readonly MaintenanceWindow[], at: Date): MaintenanceState {
  const ahead = windows.filter(({ to }) => at < to).toSorted((a, b) => a.from.getTime() - b.from.getTime());
  const [window] = ahead;
  if (window === undefined) return { kind: "none" };
  if (at >= window.from) return { kind: "under", window };
  return window.from.getTime() - at.getTime() <= MAINTENANCE_LEAD_MS ? { kind: "nearing", window } : { kind: "none" };
}

function parseWindow(text: string): MaintenanceWindow | undefined {
  const match = /^(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2})\/(\d{1,4})([mhd])$/.exec(text.trim());
  if (match === null) return undefined;
  const [, day, time, length, unit] = match;
  const from = new Date(`${day}T${time}:00`);
  const ms = Number(length) * MS[unit as keyof typeof MS];
  // `2026-02-31` is a time to some engines, and is another day.
  if (Number.isNaN(from.getTime()) || from.getDate() !== Number(day?.slice(-2)) || ms === 0) return undefined;
  return { from, to: new Date(from.getTime() + ms) };
}
