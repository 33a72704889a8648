/**
 * Hostile sessions on the plugin socket: valid messages, mutated; half frames, wrong types, lengths that lie, replies to
 * nothing. Every session comes from a seed, so that a finding can be replayed.
 */
import { encode as encodeBytes } from '../helpers/kong/protobuf-messages.ts';
import { headersReply, stringReply } from '../helpers/plugin-socket.ts';

const encode = (type: string, message: object): Buffer =>
  Buffer.from(encodeBytes(type, message as Parameters<typeof encodeBytes>[1]));

export type Random = (below: number) => number;

export function seeded(seed: number): Random {
  let state = seed >>> 0;
  return (below) => {
    // mulberry32
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

function frame(payload: Uint8Array): Buffer {
  const header = Buffer.alloc(4);
  header.writeUInt32LE(payload.length);
  return Buffer.concat([header, payload]);
}

const call = (command: string, message: Record<string, unknown>, sequence = 7): Buffer =>
  encode('RpcCall', { sequence, [command]: message });

/** What a correct peer would send; `instance` is a running one. Only wrong keys are ever presented. */
function validMessages(instance: number, random: Random): Buffer[] {
  const reply = ({ type, message }: { type: string; message: object }): Buffer => encode(type, message);
  return [
    call('cmd_get_plugin_names', {}),
    call('cmd_get_plugin_info', { name: 'hashed-key-auth' }),
    call('cmd_start_instance', {
      name: 'hashed-key-auth',
      config: '{"key_in_body":true,"anonymous":"nobody"}',
    }),
    call('cmd_start_instance', {
      name: 'hashed-key-auth',
      config: '{"key_names":5,"upstream_secrets":[{}]}',
    }),
    call('cmd_start_instance', { name: 'vault-upstream-watch', config: '{}' }),
    call('cmd_start_instance', {
      name: 'vault-upstream-secrets',
      config: '{"upstream_secrets":[{"header":"x","reference":"vault://a/b#c"}]}',
    }),
    call('cmd_get_instance_status', { instance_id: instance }),
    call('cmd_close_instance', { instance_id: 5 }),
    call('cmd_handle_event', { instance_id: instance, event_name: 'access' }),
    call('cmd_handle_event', { instance_id: -1, event_name: 'access' }),
    call('cmd_handle_event', { instance_id: instance, event_name: 'log' }),
    call('cmd_handle_event', { instance_id: instance + random(4), event_name: 'log' }),
    reply(
      headersReply({ apikey: 'wrong', 'content-type': 'application/json' }) ?? {
        type: 'String',
        message: {},
      },
    ),
    reply(stringReply('apikey=wrong&%zz=%')),
    encode('RawBodyResult', { content: '{"apikey":"wrong","x":[[[' }),
    encode('RawBodyResult', { body_filepath: '/proc/self/environ' }),
    encode('Consumer', { id: 'x', username: 'nobody' }),
    Buffer.alloc(0),
  ];
}

function mutate(bytes: Buffer, random: Random): Buffer {
  const copy = Buffer.from(bytes);
  switch (random(7)) {
    case 0:
      return copy;
    case 1:
      for (let flips = 1 + random(4); flips > 0 && copy.length > 0; flips -= 1)
        copy[random(copy.length)] = random(256);
      return copy;
    case 2:
      return copy.subarray(0, random(copy.length + 1));
    case 3:
      return Buffer.concat([copy, randomBytes(random(40), random)]);
    case 4:
      return Buffer.concat([copy, copy]);
    case 5:
      return randomBytes(random(300), random);
    default: {
      const at = random(copy.length + 1);
      return Buffer.concat([
        copy.subarray(0, at),
        Buffer.from([0xff, 0xff, 0xff, 0xff, 0x7f]),
        copy.subarray(at),
      ]);
    }
  }
}

function randomBytes(length: number, random: Random): Buffer {
  return Buffer.from(Array.from({ length }, () => random(256)));
}

/** The writes of one session. */
export function session(seed: number, instance: number): Buffer[] {
  const random = seeded(seed);
  const valid = validMessages(instance, random);
  const writes: Buffer[] = [];
  // Most begin as Kong does, so that they get past the first look.
  if (random(4) > 0) writes.push(frame(valid[6] ?? Buffer.alloc(0)));
  for (let count = random(12); count >= 0; count -= 1) {
    const payload = mutate(valid[random(valid.length)] ?? Buffer.alloc(0), random);
    switch (random(8)) {
      case 0: {
        // A length that lies.
        const lying = frame(payload);
        lying.writeUInt32LE([0, 1, payload.length + random(1000), 0x7fff_ffff, 0xffff_ffff][random(5)] ?? 0);
        writes.push(lying);
        break;
      }
      case 1:
        writes.push(frame(payload).subarray(0, random(payload.length + 4)));
        break;
      case 2:
        writes.push(randomBytes(random(64), random));
        break;
      default:
        writes.push(frame(payload));
    }
  }
  // Some in one piece, some byte by byte.
  if (random(3) === 0) return [Buffer.concat(writes)];
  if (random(10) === 0) return Array.from(Buffer.concat(writes), (byte) => Buffer.of(byte));
  return writes;
}

/** As five bytes, whatever its size: so it can be put into kept messages without changing their lengths. */
function longVarint(value: number): Buffer {
  return Buffer.from(
    Array.from({ length: 5 }, (_, at) => ((value >>> (7 * at)) & 0x7f) | (at < 4 ? 0x80 : 0)),
  );
}

/** Stands for the id of a running instance in kept sessions. */
const ANY_INSTANCE = longVarint(0x7fff_ffff);

function replaceAll(bytes: Buffer, from: Buffer, to: Buffer): Buffer {
  const copy = Buffer.from(bytes);
  for (let at = copy.indexOf(from); at >= 0; at = copy.indexOf(from, at + to.length)) to.copy(copy, at);
  return copy;
}

export function forAnyInstance(bytes: Buffer, instance: number): Buffer {
  return replaceAll(bytes, longVarint(instance), ANY_INSTANCE);
}

export function forInstance(kept: Buffer, instance: number): Buffer {
  return replaceAll(kept, ANY_INSTANCE, longVarint(instance));
}
