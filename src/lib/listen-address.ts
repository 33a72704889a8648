/**
 * Where a service listens, as it stands in a configuration: `unix:PATH`, `127.0.0.1:PORT`, `[::1]:PORT`, `localhost:PORT`
 * or another address. What is on loopback is decided by the address as written, never by a name that may resolve to
 * anything: of names only `localhost` is taken, and it is bound as 127.0.0.1.
 */
import { isIP, isIPv4, isIPv6 } from 'node:net';

export type ListenAddress =
  | { readonly kind: 'unix'; readonly path: string }
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number; readonly loopback: boolean };

export const LISTEN_FORMS = 'unix:PATH, 127.0.0.1:PORT, [::1]:PORT, localhost:PORT or another ADDRESS:PORT';

const MAX_PORT = 65_535;

/** Undefined when `text` is none of the forms. Port 0 is not among them. */
export function parseListenAddress(text: string): ListenAddress | undefined {
  if (text.startsWith('unix:')) {
    const path = text.slice('unix:'.length);
    return path === '' ? undefined : { kind: 'unix', path };
  }
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]+)):([1-9]\d{0,4})$/.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port > MAX_PORT) return undefined;
  const [, v6, other] = match;
  if (v6 !== undefined) {
    return isIPv6(v6) ? { kind: 'tcp', host: v6, port, loopback: isLoopback(v6) } : undefined;
  }
  const host = other === 'localhost' ? '127.0.0.1' : (other ?? '');
  return isIPv4(host) ? { kind: 'tcp', host, port, loopback: isLoopback(host) } : undefined;
}

/** Whether an address can be reached from this machine only. */
export function isLoopback(address: string): boolean {
  return isIP(address) === 4 ? address.startsWith('127.') : address === '::1';
}
