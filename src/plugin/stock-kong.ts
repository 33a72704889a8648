/**
 * Kong's PDK as the stock `kong-js-pluginserver` gives it (MsgPack:1), in the form our plugins use. That server runs PDK
 * calls one at a time and mixes up replies otherwise, so every call here waits for the one before it.
 */
import type { Consumer, Credential, HeaderChanges, Kong, RawBody } from './kong.ts';

/** kong-pdk's proxy: any path of names is a call. */
type StockCall = (...args: unknown[]) => Promise<unknown>;
export interface StockKong {
  readonly client: Readonly<
    Record<
      'authenticate' | 'load_consumer' | 'get_credential' | 'get_consumer' | 'get_forwarded_ip',
      StockCall
    >
  >;
  readonly request: Readonly<
    Record<
      'get_method' | 'get_header' | 'get_headers' | 'get_raw_query' | 'get_raw_body' | 'get_body',
      StockCall
    >
  >;
  readonly service: {
    readonly request: Readonly<Record<'set_headers' | 'set_raw_query' | 'set_raw_body', StockCall>>;
  };
  readonly response: Readonly<Record<'exit' | 'get_status' | 'get_source', StockCall>>;
  readonly ctx: { readonly shared: Readonly<Record<'get' | 'set', StockCall>> };
  readonly nginx: Readonly<Record<'get_var', StockCall>>;
  readonly log: Readonly<Record<'err' | 'warn' | 'notice' | 'set_serialize_value' | 'serialize', StockCall>>;
}

const text = (value: unknown): string => (typeof value === 'string' ? value : '');

function record(value: unknown): Record<string, unknown> | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : undefined;
}

export function adaptStockKong(stock: StockKong): Kong {
  let last: Promise<unknown> = Promise.resolve();
  const inTurn = <T>(call: () => Promise<unknown>, read: (reply: unknown) => T): Promise<T> => {
    const next = last.then(call).then(read);
    last = next.catch(() => undefined);
    return next;
  };
  const done = (): void => undefined;

  return {
    client: {
      authenticate: (consumer, credential) =>
        inTurn(() => stock.client.authenticate(consumer ?? null, credential ?? null), done),
      load_consumer: (id, byUsername = false) =>
        inTurn(() => stock.client.load_consumer(id, byUsername), toConsumer),
      get_credential: () => inTurn(() => stock.client.get_credential(), toCredential),
      get_consumer: () => inTurn(() => stock.client.get_consumer(), toConsumer),
      get_forwarded_ip: () => inTurn(() => stock.client.get_forwarded_ip(), text),
    },
    request: {
      get_method: () => inTurn(() => stock.request.get_method(), text),
      get_header: (name) => inTurn(() => stock.request.get_header(name), text),
      get_headers: (max) => inTurn(() => stock.request.get_headers(max), toHeaders),
      // kong-pdk decodes strings as UTF-8; ours have one character for each byte.
      get_raw_query: () =>
        inTurn(
          () => stock.request.get_raw_query(),
          (query) => Buffer.from(text(query)).toString('latin1'),
        ),
      get_raw_body: () =>
        inTurn(
          () => readBody(stock),
          (body) => body as RawBody,
        ),
    },
    service: {
      request: {
        set_headers: (changes: HeaderChanges) =>
          inTurn(() => stock.service.request.set_headers(changes), done),
        set_raw_query: (query) =>
          inTurn(() => stock.service.request.set_raw_query(Buffer.from(query, 'latin1').toString()), done),
        set_raw_body: (body) => inTurn(() => stock.service.request.set_raw_body(body), done),
      },
    },
    response: {
      exit: (status, body, headers) => inTurn(() => stock.response.exit(status, body, headers), done),
      get_status: () => inTurn(() => stock.response.get_status(), Number),
      get_source: () => inTurn(() => stock.response.get_source(), text),
    },
    ctx: {
      shared: {
        get: (name) => inTurn(() => stock.ctx.shared.get(name), text),
        set: (name, value) => inTurn(() => stock.ctx.shared.set(name, value), done),
      },
    },
    nginx: { get_var: (name) => inTurn(() => stock.nginx.get_var(name), text) },
    log: {
      err: (message) => inTurn(() => stock.log.err(message), done),
      warn: (message) => inTurn(() => stock.log.warn(message), done),
      notice: (message) => inTurn(() => stock.log.notice(message), done),
      set_serialize_value: (key, value) => inTurn(() => stock.log.set_serialize_value(key, value), done),
      serialize: () => inTurn(() => stock.log.serialize(), text),
    },
  };
}

function toConsumer(reply: unknown): Consumer | undefined {
  const fields = record(reply);
  const id = text(fields?.['id']);
  if (fields === undefined || id === '') return undefined;
  const consumer: {
    id: string;
    created_at?: number;
    username?: string;
    custom_id?: string;
    tags?: string[];
  } = { id };
  if (typeof fields['created_at'] === 'number') consumer.created_at = fields['created_at'];
  if (text(fields['username']) !== '') consumer.username = text(fields['username']);
  if (text(fields['custom_id']) !== '') consumer.custom_id = text(fields['custom_id']);
  if (Array.isArray(fields['tags'])) consumer.tags = fields['tags'].map(text);
  return consumer;
}

function toCredential(reply: unknown): Credential | undefined {
  const fields = record(reply);
  if (fields === undefined || Object.keys(fields).length === 0) return undefined;
  return {
    id: text(fields['id']),
    consumer_id: text(fields['consumer_id'] ?? record(fields['consumer'])?.['id']),
  };
}

function toHeaders(reply: unknown): Record<string, readonly string[]> {
  const headers = Object.create(null) as Record<string, readonly string[]>;
  for (const [name, value] of Object.entries(record(reply) ?? {})) {
    headers[name] = Array.isArray(value) ? value.map(text) : [text(value)];
  }
  return headers;
}

/**
 * Asked for a body that nginx has written to a file, Kong fails over MsgPack:1 (its encoder gets no string). So the body
 * is read by a call that gives one form field at most, and nginx's variable says whether there is a file.
 *
 * kong-pdk decodes strings as UTF-8, whatever they are. A body that does not have the announced length any more was
 * garbled on the way: forwarded without its key it would be a wrong one.
 */
async function readBody(stock: StockKong): Promise<RawBody> {
  await stock.request.get_body('application/x-www-form-urlencoded', 1);
  const path = text(await stock.nginx.get_var('request_body_file'));
  if (path !== '') return { kind: 'file', path };
  const reply = await stock.request.get_raw_body();
  if (typeof reply !== 'string' && !(reply instanceof Uint8Array))
    return { kind: 'error', message: 'the stock server gives none' };
  const content = Buffer.from(reply as Uint8Array);
  const announced = text(await stock.request.get_header('content-length'));
  if (announced !== '' && Number(announced) !== content.length)
    return { kind: 'error', message: 'it is not UTF-8, and the stock server garbles it' };
  return { kind: 'content', content };
}
