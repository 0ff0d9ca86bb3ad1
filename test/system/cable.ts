// The cable between a worker and the orchestrator: a port that passes everything on, until it is pulled. Pulled, nothing gets through and nobody is told;
// what was sent meanwhile arrives when it is plugged in again, as TCP has it.
import { connect, createServer, type Socket } from "node:net";

export interface Cable {
  /** For `qubix-worker start --url`. */
  readonly url: string;
  pull(): void;
  plug(): void;
  close(): void;
}

/** `target`: the orchestrator's own URL. */
export async function createCable(target: string): Promise<Cable> {
  const { hostname, port } = new URL(target);
  const ends = new Set<Socket>();
  let isPulled = false;

  function hold(socket: Socket, other: Socket): void {
    ends.add(socket);
    if (isPulled) socket.pause();
    socket.on("data", (data) => other.write(data));
    socket.on("error", () => undefined);
    socket.on("close", () => {
      ends.delete(socket);
      // A line that is down tells nobody of the other end's death.
      if (!isPulled) other.destroy();
      else orphans.add(other);
    });
  }
  const orphans = new Set<Socket>();

  const server = createServer((near) => {
    const far = connect(Number(port), hostname);
    hold(near, far);
    hold(far, near);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const ownPort = typeof address === "object" && address !== null ? address.port : 0;
  return {
    url: `http://127.0.0.1:${ownPort}`,
    pull() {
      isPulled = true;
      for (const socket of ends) socket.pause();
    },
    plug() {
      isPulled = false;
      for (const socket of ends) socket.resume();
      for (const socket of orphans) socket.destroy();
      orphans.clear();
    },
    close() {
      for (const socket of ends) socket.destroy();
      server.close();
    },
  };
}
