// Reads the XML that `nvidia-smi -q -x` prints: elements with text or elements in them, nothing else. A reader of its own, because the general ones bring
// document types, entities and half a dozen packages onto a provider's machine, and none of that occurs here: what does not belong is an error, not a feature.

export interface XmlElement {
  readonly name: string;
  readonly attributes: ReadonlyMap<string, string>;
  /** Text outside of child elements, trimmed. */
  readonly text: string;
  readonly children: readonly XmlElement[];
}

/** Sixteen cards with all their supported clocks are about 2 million characters. */
const CHARACTERS_MAX = 8 * 1024 * 1024;
/** The deepest document known has 6 levels. */
const DEPTH_MAX = 32;
const ENTITIES: Readonly<Record<string, string>> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" };

/** One token at a time: a closing tag, an opening tag with its attributes and perhaps its own end, or text. */
const TOKEN =
  /<\/(?<close>[A-Za-z_][\w.-]*)\s*>|<(?<open>[A-Za-z_][\w.-]*)(?<attributes>(?:\s+[A-Za-z_][\w.-]*\s*=\s*(?:"[^"<]*"|'[^'<]*'))*)\s*(?<empty>\/?)>|(?<text>[^<]+)/y;
const ATTRIBUTE = /([A-Za-z_][\w.-]*)\s*=\s*(?:"([^"]*)"|'([^']*)')/g;

interface Open {
  readonly name: string;
  readonly attributes: ReadonlyMap<string, string>;
  readonly parts: string[];
  readonly children: XmlElement[];
}

/** The element `root` of a text, whatever stands before and behind it; undefined where there is none or it is not well formed. */
export function readXml(text: string, root: string): XmlElement | undefined {
  const begin = text.search(new RegExp(`<${root}[\\s>]`));
  if (begin < 0 || text.length > CHARACTERS_MAX) return undefined;
  const open: Open[] = [];
  TOKEN.lastIndex = begin;
  for (let token = TOKEN.exec(text); token !== null; token = TOKEN.exec(text)) {
    const { close, open: opened, attributes, empty, text: words } = token.groups ?? {};
    if (words !== undefined) {
      open.at(-1)?.parts.push(words);
      continue;
    }
    if (opened !== undefined) {
      if (open.length >= DEPTH_MAX) return undefined;
      open.push({ name: opened, attributes: attributesOf(attributes ?? ""), parts: [], children: [] });
      if (empty !== "/") continue;
    } else if (open.at(-1)?.name !== close) {
      return undefined;
    }
    const done = open.pop();
    if (done === undefined) return undefined;
    const element = {
      name: done.name,
      attributes: done.attributes,
      text: decode(done.parts.join("")).trim(),
      children: done.children,
    };
    const parent = open.at(-1);
    if (parent === undefined) return element;
    parent.children.push(element);
  }
  return undefined;
}

/** The first child of each name in turn. */
export function childAt(element: XmlElement, ...path: readonly string[]): XmlElement | undefined {
  let at: XmlElement | undefined = element;
  for (const name of path) at = at?.children.find((child) => child.name === name);
  return at;
}

export function childrenOf(element: XmlElement | undefined, name: string): readonly XmlElement[] {
  return element?.children.filter((child) => child.name === name) ?? [];
}

function attributesOf(text: string): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  for (const [, name = "", double, single] of text.matchAll(ATTRIBUTE)) found.set(name, decode(double ?? single ?? ""));
  return found;
}

function decode(text: string): string {
  return text.replace(/&(amp|lt|gt|quot|apos);/g, (whole, name: string) => ENTITIES[name] ?? whole);
}
