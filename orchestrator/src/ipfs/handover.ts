// One item at a time from whoever makes them to whoever reads: the maker waits until each was taken, so that nothing piles up between the two.

/** `make` calls `give` for each item. Its failure is the reader's; when the reader leaves, `give` rejects and so ends the making. */
export async function* handOver<Item>(
  make: (give: (item: Item) => Promise<void>) => Promise<void>,
): AsyncGenerator<Item, void, undefined> {
  const waiting: { readonly item: Item; readonly taken: () => void; readonly refused: (error: unknown) => void }[] = [];
  let isMade = false;
  let isLeft = false;
  let news = Promise.withResolvers<void>();
  const making = make(
    (item) =>
      new Promise((taken, refused) => {
        if (isLeft) return refused(new ReaderLeft());
        waiting.push({ item, taken, refused });
        news.resolve();
      }),
  ).finally(() => {
    isMade = true;
    news.resolve();
  });
  // It is awaited below; until then a failure is not unhandled.
  making.catch(() => {});
  try {
    for (;;) {
      const next = waiting[0];
      if (next !== undefined) {
        yield next.item;
        waiting.shift();
        next.taken();
      } else if (isMade) {
        return await making;
      } else {
        await news.promise;
        news = Promise.withResolvers();
      }
    }
  } finally {
    isLeft = true;
    for (const { refused } of waiting) refused(new ReaderLeft());
    await making.catch(() => {});
  }
}

class ReaderLeft extends Error {
  constructor() {
    super("nobody reads any more");
  }
}
