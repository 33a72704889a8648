/** docker-compose.yml as tests read it: YAML with merge keys (1.1), and the two forms of a few fields made one. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { ROOT } from '../helpers/installation.ts';

export interface ComposeService {
  readonly image?: string;
  readonly build?: string;
  readonly user?: string;
  readonly group_add?: readonly string[];
  readonly entrypoint?: readonly string[];
  readonly command?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly ports?: readonly string[];
  readonly secrets?: readonly string[];
  readonly volumes?: readonly string[];
  readonly tmpfs?: readonly string[];
  readonly networks?: readonly string[] | Readonly<Record<string, { readonly ipv4_address?: string }>>;
  readonly network_mode?: string;
  readonly privileged?: boolean;
  readonly read_only?: boolean;
  readonly cap_drop?: readonly string[];
  readonly cap_add?: readonly string[];
  readonly security_opt?: readonly string[];
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>;
  readonly healthcheck?: { readonly test: readonly string[] };
}

export interface ComposeFile {
  readonly services: Readonly<Record<string, ComposeService>>;
  readonly networks?: Readonly<
    Record<
      string,
      { readonly internal?: boolean; readonly ipam?: { readonly config: readonly { subnet: string }[] } }
    >
  >;
  readonly volumes?: Readonly<Record<string, { readonly driver_opts?: Readonly<Record<string, string>> }>>;
  readonly secrets?: Readonly<Record<string, { readonly file: string }>>;
}

/** Several files are laid over one another, as `docker compose -f` does. */
export function readComposeFile(...names: readonly string[]): ComposeFile {
  const files = (names.length === 0 ? ['docker-compose.yml'] : names).map(
    (name) => parse(readFileSync(join(ROOT, name), 'utf8'), { merge: true }) as ComposeFile,
  );
  return files.reduce((base, over) => ({
    ...base,
    ...over,
    networks: { ...base.networks, ...over.networks },
    volumes: { ...base.volumes, ...over.volumes },
    secrets: { ...base.secrets, ...over.secrets },
    services: {
      ...base.services,
      ...Object.fromEntries(
        Object.entries(over.services).map(([name, service]) => [
          name,
          laidOver(base.services[name], service),
        ]),
      ),
    },
  }));
}

function laidOver(base: ComposeService | undefined, over: ComposeService): ComposeService {
  if (base === undefined) return over;
  const together = <T>(field: (service: ComposeService) => readonly T[] | undefined): readonly T[] => [
    ...(field(base) ?? []),
    ...(field(over) ?? []),
  ];
  const attachments = [base, over].flatMap((service) => [...networksOf(service)]);
  return {
    ...base,
    ...over,
    environment: { ...base.environment, ...over.environment },
    depends_on: { ...base.depends_on, ...over.depends_on },
    secrets: together(({ secrets }) => secrets),
    volumes: together(({ volumes }) => volumes),
    networks: Object.fromEntries(
      attachments.map(([name, address]) => [name, address === undefined ? {} : { ipv4_address: address }]),
    ),
  };
}

/** Names of a service's networks, with the fixed address where there is one. */
export function networksOf({ networks = {} }: ComposeService): Map<string, string | undefined> {
  return Array.isArray(networks)
    ? new Map((networks as readonly string[]).map((name) => [name, undefined]))
    : new Map(
        Object.entries(networks as Record<string, { ipv4_address?: string }>).map(([name, network]) => [
          name,
          network.ipv4_address,
        ]),
      );
}

/** `source:target[:ro]`. */
export function mountOf(volume: string): { source: string; target: string; readOnly: boolean } {
  const [source = '', target = '', mode] = volume.split(':');
  return { source, target, readOnly: mode === 'ro' };
}
