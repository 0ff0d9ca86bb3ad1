// How far a pull is, from what the Engine says of each layer. The registry tells a layer's size when its download begins: the total grows until all have begun.
import type { EngineEvent } from "./engine-stream.ts";

const MB = 1_000_000;

export interface PullProgress {
  note(event: EngineEvent): void;
  /** Compressed bytes of all layers that have begun. */
  bytesTotal(): number;
  /** Of these, what has come. */
  bytesHere(): number;
  /** For people, at most 40 characters, e.g. `pulling 40% (120 of 300 MB)`. */
  text(): string;
}

interface Layer {
  downloaded: number;
  total: number;
  unpacked: number;
}

export function createPullProgress(): PullProgress {
  const layers = new Map<string, Layer>();
  const sum = (of: (layer: Layer) => number) => [...layers.values()].reduce((all, layer) => all + of(layer), 0);
  return {
    note({ id, status, progressDetail }) {
      if (id === undefined || status === undefined) return;
      const layer = layers.get(id) ?? { downloaded: 0, total: 0, unpacked: 0 };
      const { current = 0, total = 0 } = progressDetail ?? {};
      if (status === "Downloading") {
        layers.set(id, { ...layer, downloaded: current, total: Math.max(layer.total, total) });
      } else if (status === "Extracting") {
        const whole = Math.max(layer.total, total);
        layers.set(id, { downloaded: whole, total: whole, unpacked: current });
      } else if (status === "Download complete") {
        layers.set(id, { ...layer, downloaded: layer.total });
      } else if (status === "Pull complete") {
        layers.set(id, { ...layer, downloaded: layer.total, unpacked: layer.total });
      }
    },
    bytesTotal: () => sum((layer) => layer.total),
    bytesHere: () => sum((layer) => layer.downloaded),
    text() {
      const total = sum((layer) => layer.total);
      if (total === 0) return "pulling the image";
      const downloaded = sum((layer) => layer.downloaded);
      if (downloaded >= total)
        return `unpacking the image ${percent(
          sum((layer) => layer.unpacked),
          total,
        )}`;
      return `pulling ${percent(downloaded, total)} (${inMb(downloaded)} of ${inMb(total)} MB)`;
    },
  };
}

function percent(part: number, whole: number): string {
  return `${Math.min(100, Math.floor((part / whole) * 100))}%`;
}

function inMb(bytes: number): string {
  return bytes < 10 * MB ? (bytes / MB).toFixed(1) : String(Math.round(bytes / MB));
}
