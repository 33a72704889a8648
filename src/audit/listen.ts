/** Kong's `…_listen` settings: a list of addresses with flags, or `off`. */
import { isIP } from 'node:net';
import { isLoopback } from '../lib/listen-address.ts';

export interface Listen {
  readonly host: string;
  readonly port: number | undefined;
  readonly reach: 'loopback' | 'everywhere' | 'some';
}

export function parseListen(text: string): Listen[] {
  if (/^\s*(?:off)?\s*$/i.test(text)) return [];
  return text.split(',').flatMap((part) => {
    const [address = ''] = part.trim().split(/\s+/);
    if (address === '' || address.startsWith('unix:')) return [];
    const match = /^(?:\[([^\]]*)\]|([^:]*))(?::(\d+))?$/.exec(address);
    const host = (match?.[1] ?? match?.[2] ?? address).toLowerCase();
    const port = match?.[3] === undefined ? undefined : Number(match[3]);
    return [{ host, port, reach: reachOf(host) }];
  });
}

export function reachOf(host: string): Listen['reach'] {
  if (host === '' || host === '*' || host === '0.0.0.0' || /^[0:]+$/.test(host)) return 'everywhere';
  if (host === 'localhost' || (isIP(host) !== 0 && isLoopback(host))) return 'loopback';
  return 'some';
}

/** A network of the whole Internet. */
export function isEverything(network: string): boolean {
  return /^(?:0\.0\.0\.0|[0:]+)\/0+$/.test(network.trim());
}
