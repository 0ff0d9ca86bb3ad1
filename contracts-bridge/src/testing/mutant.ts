// A contract's source with one change.

export interface Mutant {
  readonly name: string;
  readonly source: string;
}

/** Throws where the text that is to be changed is not in the source exactly once. */
export function mutantsOf(
  source: string,
  changes: readonly (readonly [name: string, find: string, replace: string])[],
): readonly Mutant[] {
  return changes.map(([name, find, replace]) => {
    const places = source.split(find).length - 1;
    if (places !== 1) throw new Error(`mutant "${name}": its text is in the source ${places} times`);
    return { name, source: source.replace(find, () => replace) };
  });
}
