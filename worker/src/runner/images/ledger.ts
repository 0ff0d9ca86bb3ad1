// What this agent knows of images on the Engine: which it brought there, and so may remove; which anybody may run; when each was last wanted.
// Others use the same Engine (its owner, other agents): what is not in here is not this agent's to remove.

export interface KnownImage {
  /** The Engine's id, `sha256:…`. */
  readonly id: string;
  /** References under which this agent pulled it (`registry/repository@sha256:…`); empty for one that it did not pull. */
  readonly names: readonly string[];
  /** The tree of the archive it was loaded from; null for one that was not. */
  readonly tree: string | null;
  /** The registry gave it, or confirmed it, to somebody without credentials: every job may run it without asking again. */
  readonly open: boolean;
  /** Tags that last stood for it, for when the registry is out of reach. */
  readonly tags: readonly string[];
  readonly bytes: number;
  readonly usedAtMs: number;
}

/** An image that is being brought here. When that is cut off, by a cancel or the agent's end, it may arrive all the same. */
export interface ExpectedImage {
  /** A reference with its digest, or the id of an upload. */
  readonly name: string;
  readonly tree: string | null;
  readonly sinceMs: number;
}

export interface LedgerContent {
  readonly images: readonly KnownImage[];
  readonly expected: readonly ExpectedImage[];
}

/** Durable when `save` returns. */
export interface LedgerStore {
  load(): LedgerContent | undefined;
  save(content: LedgerContent): void;
}

export interface ImageLedger {
  all(): readonly KnownImage[];
  get(id: string): KnownImage | undefined;
  put(image: KnownImage): void;
  forget(id: string): void;
  expected(): readonly ExpectedImage[];
  expect(image: ExpectedImage): void;
  /** It has come, or will not. */
  settle(name: string): void;
}

/** Images that are only known, not brought here, take no disk of ours: of these only the newest are remembered. */
const KNOWN_MAX = 500;

/** Whether this agent brought it here, and so may remove it. */
export function isOwn(image: KnownImage): boolean {
  return image.names.length > 0 || image.tree !== null;
}

export function openLedger(store: LedgerStore): ImageLedger {
  const { images: before = [], expected: expectedBefore = [] } = store.load() ?? {};
  const images = new Map(before.map((image) => [image.id, image]));
  const expected = new Map(expectedBefore.map((image) => [image.name, image]));
  const save = () => store.save({ images: [...images.values()], expected: [...expected.values()] });
  return {
    all: () => [...images.values()],
    get: (id) => images.get(id),
    put(image) {
      // A tag stands for one image at a time.
      for (const other of images.values()) {
        if (other.id === image.id || !other.tags.some((tag) => image.tags.includes(tag))) continue;
        images.set(other.id, { ...other, tags: other.tags.filter((tag) => !image.tags.includes(tag)) });
      }
      images.set(image.id, image);
      const others = [...images.values()].filter((one) => !isOwn(one)).toSorted((a, b) => a.usedAtMs - b.usedAtMs);
      for (const { id } of others.slice(0, Math.max(0, others.length - KNOWN_MAX))) images.delete(id);
      save();
    },
    forget(id) {
      if (images.delete(id)) save();
    },
    expected: () => [...expected.values()],
    expect(image) {
      expected.set(image.name, image);
      save();
    },
    settle(name) {
      if (expected.delete(name)) save();
    },
  };
}
