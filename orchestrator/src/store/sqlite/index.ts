// The default store: SQLite, embedded, durable at every commit (write-ahead log, synchronous=FULL).
import type { ClockRecord, Store } from "../port.ts";
import { openDataDir } from "./data-dir.ts";
import { createSqliteReader } from "./read.ts";
import { createSqliteWriter } from "./write.ts";

/**
 * Opens (and on first use makes) the store in `dataDir`. One process at a time may have it open.
 * Throws `data_dir_unusable`, `data_dir_in_use`, `database_damaged`, `database_foreign`, `schema_newer`: each says what to do.
 */
export function openSqliteStore(dataDir: string): Store {
  const files = openDataDir(dataDir);
  const { db } = files;
  const writer = createSqliteWriter(db);
  const reader = createSqliteReader(db, (spec) => writer.knowSpec(spec));
  const saveClock = db.prepare(
    `INSERT INTO clock (id, boot_id, offset_ms) VALUES (1, ?, ?)
     ON CONFLICT (id) DO UPDATE SET boot_id = excluded.boot_id, offset_ms = excluded.offset_ms`,
  );
  const readClock = db.prepare("SELECT boot_id AS bootId, offset_ms AS offsetMs FROM clock WHERE id = 1");
  return {
    ...reader,
    commit: (batch, wallMs) => writer.commit(batch, wallMs),
    clock: () => (readClock.get() as ClockRecord | undefined) ?? null,
    saveClock: (clock) => {
      saveClock.run(clock.bootId, clock.offsetMs);
    },
    close: () => files.close(),
  };
}
