// What the program needs of its surroundings: two streams, the environment, Ctrl-C.

export interface TextStream {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
}

export interface Io {
  readonly stdout: TextStream;
  readonly stderr: TextStream;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Calls back on Ctrl-C; returns how to stop listening. */
  onInterrupt(handler: () => void): () => void;
}
