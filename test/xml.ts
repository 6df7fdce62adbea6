/**
 * A reader for the XML that Valgrind writes: elements and text, no attributes, no document types. It is
 * content with a text that is cut off: elements that are not closed end where the text does.
 */

export interface XmlNode {
  readonly tag: string;
  readonly children: readonly XmlNode[];
  /** Text directly within the element, entities resolved. */
  readonly text: string;
}

interface OpenNode {
  tag: string;
  children: OpenNode[];
  text: string;
}

const PIECES =
  /<!\[CDATA\[([\s\S]*?)(?:\]\]>|$)|<!--[\s\S]*?(?:-->|$)|<[?!][^>]*>?|<(\/?)([\w-]+)[^>]*?(\/?)>|<[^>]*$|([^<]+)|</g;

/** The elements of a text, within a node without a name. */
export function parseXml(xml: string): XmlNode {
  const root: OpenNode = { tag: '', children: [], text: '' };
  const open = [root];
  for (const [, raw, closing, tag, empty, plain] of xml.matchAll(PIECES)) {
    const current = open.at(-1)!;
    if (raw !== undefined) current.text += raw;
    else if (plain !== undefined) current.text += resolveEntities(plain);
    else if (tag !== undefined && closing) {
      const at = open.findLastIndex((node) => node.tag === tag);
      if (at > 0) open.length = at;
    } else if (tag !== undefined) {
      const node: OpenNode = { tag, children: [], text: '' };
      current.children.push(node);
      if (!empty) open.push(node);
    }
  }
  return root;
}

const ENTITIES: Readonly<Record<string, string>> = {
  lt: '<',
  gt: '>',
  amp: '&',
  quot: '"',
  apos: "'",
};

function resolveEntities(text: string): string {
  return text.replace(/&(?:#x([0-9a-f]+)|#(\d+)|(\w+));/gi, (whole, hex, decimal, name) => {
    if (hex !== undefined) return String.fromCodePoint(Number.parseInt(hex as string, 16));
    if (decimal !== undefined) return String.fromCodePoint(Number(decimal));
    return ENTITIES[name as string] ?? whole;
  });
}

/** All elements of this name directly within a node. */
export const children = (node: XmlNode, tag: string): readonly XmlNode[] =>
  node.children.filter((inner) => inner.tag === tag);

/** The first element of this name directly within a node. */
export const child = (node: XmlNode, tag: string): XmlNode | undefined =>
  node.children.find((inner) => inner.tag === tag);

/** The text of the first element of this name directly within a node; empty when there is none. */
export const text = (node: XmlNode, tag: string): string => child(node, tag)?.text.trim() ?? '';
