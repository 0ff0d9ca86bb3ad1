// What GPUs are doing, for people to see; and which processes on them count as somebody else's use.
import type { GpuProcess } from "./cards.ts";
import type { Pulse } from "./query-csv.ts";

export interface GpuUse {
  /** 0 to 100, the mean over the cards. */
  readonly gpuPercent: number;
  /** The sum over the cards. */
  readonly gpuMemoryMiB: number;
}

/** What a job's own cards do; those that do not say are left out. */
export function gpuUseOf(pulses: Iterable<Pulse>, uuids: readonly string[]): GpuUse | undefined {
  const cards: { readonly percent: number; readonly memory: number }[] = [];
  for (const { uuid, gpuPercent, memoryUsedMiB } of pulses) {
    if (uuid === undefined || !uuids.includes(uuid) || gpuPercent === undefined || memoryUsedMiB === undefined)
      continue;
    cards.push({ percent: Math.min(100, gpuPercent), memory: memoryUsedMiB });
  }
  if (cards.length === 0) return undefined;
  return {
    gpuPercent: Math.round(cards.reduce((sum, card) => sum + card.percent, 0) / cards.length),
    gpuMemoryMiB: cards.reduce((sum, card) => sum + card.memory, 0),
  };
}

/** What draws a desktop: always there, and no sign that somebody wants the card for himself. */
const DESKTOP = new Set(
  `xorg x xwayland gnome-shell mutter gdm-x-session gnome-remote-desktop-daemon kwin_x11 kwin_wayland plasmashell ksmserver sddm-greeter
  lightdm cinnamon xfwm4 sway hyprland weston wayfire compiz marco cosmic-comp niri picom nvidia-persistenced nvidia-settings nvidia-smi
  nvtop dcgm nv-hostengine`.split(/\s+/),
);
/** Two 8K screens and their windows; beyond, something else hides behind the name. */
const DESKTOP_MIB_MAX = 2048;
/** Browsers and editors draw their windows with some hundred MiB; a game or a renderer takes more. */
const DRAWING_MIB_MAX = 768;
/** The proof of a GPU and other programs of ours. */
const OWN_PREFIX = "qubix-";

/** Whether a process on a card means that its owner uses it. Computing always does, drawing from a size on. `ignore`: names that the owner says are none. */
export function countsAsUse({ kind, name, memoryMiB }: GpuProcess, ignore: readonly string[]): boolean {
  const program = programOf(name);
  if (program.startsWith(OWN_PREFIX) || ignore.some((other) => other.toLowerCase() === program)) return false;
  if (DESKTOP.has(program)) return (memoryMiB ?? 0) > DESKTOP_MIB_MAX;
  // Without a size (Windows does not tell) a process that draws is taken for part of the desktop.
  return kind === "C" || (memoryMiB ?? 0) > DRAWING_MIB_MAX;
}

/** `/usr/bin/python3 train.py` → `python3`; `C:\Games\game.exe` → `game.exe`. */
export function programOf(name: string): string {
  const [path = ""] = name.trim().split(/\s/);
  return (path.split(/[/\\]/).at(-1) ?? "").toLowerCase();
}
