/**
 * A list of addresses and networks (CIDR), such as an allow-list. Client addresses come from the system, entries from the
 * configuration. An IPv4 client on a socket that takes both kinds is known as `::ffff:a.b.c.d` and is compared as IPv4.
 */
import { BlockList, isIP } from 'node:net';

export class AddressList {
  readonly #list = new BlockList();

  /** Entries for which {@link isAddressOrNetwork} holds. */
  constructor(entries: readonly string[]) {
    for (const entry of entries) {
      const { address, family, bits } = parse(entry);
      this.#list.addSubnet(address, bits, family);
    }
  }

  has(address: string): boolean {
    const plain = plainAddress(address);
    const kind = isIP(plain);
    return kind !== 0 && this.#list.check(plain, kind === 4 ? 'ipv4' : 'ipv6');
  }
}

export function isAddressOrNetwork(entry: string): boolean {
  try {
    parse(entry);
    return true;
  } catch {
    return false;
  }
}

/** `::ffff:10.0.0.1` is 10.0.0.1. */
export function plainAddress(address: string): string {
  return address.replace(/^::ffff:(?=\d+\.\d+\.\d+\.\d+$)/i, '');
}

function parse(entry: string): { address: string; family: 'ipv4' | 'ipv6'; bits: number } {
  const [address = '', bitsText, ...rest] = entry.split('/');
  const kind = isIP(address);
  const most = kind === 4 ? 32 : 128;
  const bits = bitsText === undefined ? most : Number(bitsText);
  const wellFormed = bitsText === undefined || /^\d{1,3}$/.test(bitsText);
  if (kind === 0 || rest.length > 0 || !wellFormed || bits > most) throw new RangeError('no network');
  return { address, family: kind === 4 ? 'ipv4' : 'ipv6', bits };
}
