/**
 * A YAML or JSON text as a tree of places, so that a few values can be changed and every other byte stays: comments,
 * anchors, order, quotes. Built from the parser's events; positions are indexes into the text.
 */
import { COLLECTION_STYLE, EVENT_ID, getScalarValue, parseEvents, SCALAR_STYLE, type Event } from 'js-yaml';

export interface ScalarNode {
  readonly kind: 'scalar';
  readonly text: string;
  /** Of the text itself, without quotes; -1 for an empty value, which stands nowhere. */
  readonly valueStart: number;
  readonly valueEnd: number;
  readonly quoted: boolean;
  /** Anchor and quotes included. */
  readonly start: number;
  readonly end: number;
}

export interface CollectionNode {
  readonly kind: 'mapping' | 'sequence';
  readonly flow: boolean;
  readonly start: number;
  end: number;
  /** Where its first entry begins, after anchor and bracket. */
  readonly bodyStart: number;
  readonly entries: { readonly key: YamlNode | undefined; readonly value: YamlNode }[];
}

export interface AliasNode {
  readonly kind: 'alias';
  readonly target: YamlNode | undefined;
  readonly start: number;
  readonly end: number;
}

export type YamlNode = ScalarNode | CollectionNode | AliasNode;

/** The root of the first document. Throws what js-yaml throws: parse the text with parseYaml before. */
export function yamlTree(text: string): YamlNode | undefined {
  const events = parseEvents(text, {});
  const anchors = new Map<string, YamlNode>();
  let at = 0;

  const next = (): Event | undefined => {
    at += 1;
    return events[at - 1];
  };
  const node = (event: Event): YamlNode => {
    if (event.type === EVENT_ID.ALIAS) {
      const name = text.slice(event.anchorStart, event.anchorEnd);
      return { kind: 'alias', target: anchors.get(name), start: event.anchorStart - 1, end: event.anchorEnd };
    }
    const made =
      event.type === EVENT_ID.SCALAR
        ? scalar(text, event)
        : collection(event as Collection, next, node, text);
    if ('anchorStart' in event && event.anchorStart >= 0) {
      anchors.set(text.slice(event.anchorStart, event.anchorEnd), made);
    }
    return made;
  };
  for (let event = next(); event !== undefined; event = next()) {
    if (event.type === EVENT_ID.DOCUMENT) continue;
    return event.type === EVENT_ID.POP ? undefined : node(event);
  }
  return undefined;
}

type Scalar = Extract<Event, { type: typeof EVENT_ID.SCALAR }>;
type Collection = Extract<Event, { type: typeof EVENT_ID.MAPPING | typeof EVENT_ID.SEQUENCE }>;

function scalar(text: string, event: Scalar): ScalarNode {
  const quoted = event.style === SCALAR_STYLE.SINGLE_QUOTED || event.style === SCALAR_STYLE.DOUBLE_QUOTED;
  const { valueStart, valueEnd, anchorStart, tagStart } = event;
  const first = [anchorStart - 1, tagStart, valueStart - (quoted ? 1 : 0)].filter((place) => place >= 0);
  return {
    kind: 'scalar',
    text: getScalarValue(text, event),
    valueStart,
    valueEnd,
    quoted,
    start: first.length === 0 ? -1 : Math.min(...first),
    end: valueEnd < 0 ? Math.max(event.anchorEnd, event.tagEnd) : valueEnd + (quoted ? 1 : 0),
  };
}

function collection(
  event: Collection,
  next: () => Event | undefined,
  node: (event: Event) => YamlNode,
  text: string,
): CollectionNode {
  const kind = event.type === EVENT_ID.MAPPING ? 'mapping' : 'sequence';
  const flow = event.style === COLLECTION_STYLE.FLOW;
  const anchored = [event.anchorStart - 1, event.tagStart, event.start].filter((place) => place >= 0);
  const entries: CollectionNode['entries'] = [];
  let key: YamlNode | undefined;
  let end = event.start + 1;
  for (let inner = next(); inner !== undefined && inner.type !== EVENT_ID.POP; inner = next()) {
    const value = node(inner);
    end = Math.max(end, value.end);
    if (kind === 'sequence') entries.push({ key: undefined, value });
    else if (key === undefined) key = value;
    else {
      entries.push({ key, value });
      key = undefined;
    }
  }
  return {
    kind,
    flow,
    start: Math.min(...anchored),
    end: flow ? closing(text, end) : end,
    bodyStart: event.start + (flow ? 1 : 0),
    entries,
  };
}

/** After the bracket that closes a flow collection: only space, comments and a comma come before it. */
function closing(text: string, from: number): number {
  for (let at = from; at < text.length; at += 1) {
    const character = text.charAt(at);
    if (character === ']' || character === '}') return at + 1;
    if (character === '#') at = endOfLine(text, at);
  }
  return text.length;
}

/** Of the line feed that ends the line of `at`, or the end of the text. */
export function endOfLine(text: string, at: number): number {
  const end = text.indexOf('\n', at);
  return end === -1 ? text.length : end;
}

export function startOfLine(text: string, at: number): number {
  return text.lastIndexOf('\n', at - 1) + 1;
}

/** What an alias stands for, the node itself otherwise. */
export function resolved(node: YamlNode | undefined): ScalarNode | CollectionNode | undefined {
  const target = node?.kind === 'alias' ? node.target : node;
  return target?.kind === 'alias' ? undefined : target;
}

export function entryOf(
  node: YamlNode | undefined,
  name: string,
): { readonly key: YamlNode; readonly value: YamlNode } | undefined {
  const mapping = resolved(node);
  if (mapping?.kind !== 'mapping') return undefined;
  for (const { key, value } of mapping.entries) {
    if (key?.kind === 'scalar' && key.text === name) return { key, value };
  }
  return undefined;
}

export function itemsOf(node: YamlNode | undefined): readonly YamlNode[] {
  const sequence = resolved(node);
  return sequence?.kind === 'sequence' ? sequence.entries.map(({ value }) => value) : [];
}
