/** The options of `migrate` that say where the keys are, turned into a source and into what changes the gateway. */
import { HkaError } from '../lib/errors.ts';
import { readPrivateFile } from '../lib/atomic-file.ts';
import { readText } from '../lib/read-text.ts';
import { Secret } from '../lib/secret.ts';
import type { PepperRing } from '../keys/pepper.ts';
import { AdminApi } from '../migrate/admin-api.ts';
import { AdminSource } from '../migrate/admin-source.ts';
import { FileSource } from '../migrate/file-source.ts';
import { AdminControl, FileControl, type GatewayControl } from '../migrate/gateway-control.ts';
import { AdminShadows, FileShadows, type ShadowControl } from '../migrate/shadow-control.ts';
import { PostgresSource, readKongConf } from '../migrate/postgres-source.ts';
import { AdminSecrets } from '../migrate/secrets/admin.ts';
import type { SecretsControl } from '../migrate/secrets/control.ts';
import { FileSecrets } from '../migrate/secrets/file.ts';
import type { CredentialSource } from '../migrate/source.ts';
import type { Config } from '../runtime/config.ts';
import { parseDuration, parseWholeNumber } from './arguments.ts';

export interface SourceOptions {
  readonly file?: string;
  readonly kongAdminUrl?: string;
  readonly kongTokenFile?: string;
  readonly kongCaFile?: string;
  readonly kongCertFile?: string;
  readonly kongKeyFile?: string;
  readonly workspace?: string;
  readonly workspaceHeader?: string;
  readonly kongConf?: string;
  readonly pgPasswordFile?: string;
  readonly pgCaFile?: string;
  readonly pageSize?: string;
  readonly timeout?: string;
}

export interface Places {
  readonly source: CredentialSource;
  /** Kong's database, where it was named: for the residue scan. */
  readonly database: PostgresSource | undefined;
  /** Undefined where only the database was named, which is never written to. */
  control(peppers: PepperRing): GatewayControl;
  /** As {@link control}. */
  shadows(): ShadowControl;
  close(): Promise<void>;
}

/** Throws HKA_USAGE, HKA_CONFIG_INVALID, HKA_KONG_UNAVAILABLE. */
export async function openPlaces(options: SourceOptions, config: Config): Promise<Places> {
  const timeoutMs = parseDuration('--timeout', options.timeout ?? '30s');
  const pageSize = parseWholeNumber('--page-size', options.pageSize ?? '1000', 1, 1000);
  const { file, kongConf } = options;
  if (file !== undefined && (kongConf !== undefined || options.kongAdminUrl !== undefined)) {
    throw new HkaError(
      'HKA_USAGE',
      '--file excludes --kong-admin-url and --kong-conf: the keys are in one place',
    );
  }
  if (file !== undefined) {
    const source = new FileSource(file);
    return {
      source,
      database: undefined,
      control: (peppers) => new FileControl(file, peppers),
      shadows: () => new FileShadows(file),
      close: () => source.close(),
    };
  }
  const api = adminApi(options, config, { timeoutMs, pageSize });
  const workspaces = workspacesOf(options);
  const database =
    kongConf === undefined ? undefined : postgresSource(kongConf, options, { timeoutMs, pageSize });
  if (api === undefined && database === undefined) {
    throw new HkaError(
      'HKA_USAGE',
      'where are the keys? Name --file, --kong-admin-url or --kong-conf, or set kong.admin_url in the configuration',
    );
  }
  const admin = api === undefined ? undefined : new AdminSource(api, workspaces);
  if (admin !== undefined && database === undefined) await admin.check();
  const source = database ?? admin;
  if (source === undefined) throw new HkaError('HKA_INTERNAL', 'no source');
  const writable = (): AdminApi => {
    if (api !== undefined) return api;
    throw new HkaError(
      'HKA_USAGE',
      "Kong's database is only ever read: name the Admin API as well, by --kong-admin-url",
    );
  };
  return {
    source,
    database,
    control: () => new AdminControl(writable(), workspaces),
    shadows: () => new AdminShadows(writable(), workspaces),
    close: async () => {
      api?.close();
      await source.close();
    },
  };
}

/** The places of `migrate secrets`: plugins, no keys. Throws as {@link openPlaces} does. */
export async function openSecrets(
  options: SourceOptions,
  config: Config,
  peppers: PepperRing,
): Promise<{ readonly control: SecretsControl; close(): Promise<void> }> {
  const { file } = options;
  if (file !== undefined && options.kongAdminUrl !== undefined) {
    throw new HkaError('HKA_USAGE', '--file excludes --kong-admin-url: the plugins are in one place');
  }
  if (file !== undefined) return { control: new FileSecrets(file, peppers), close: () => Promise.resolve() };
  const api = adminApi(options, config, {
    timeoutMs: parseDuration('--timeout', options.timeout ?? '30s'),
    pageSize: parseWholeNumber('--page-size', options.pageSize ?? '1000', 1, 1000),
  });
  if (api === undefined) {
    throw new HkaError(
      'HKA_USAGE',
      'where are the plugins? Name --file or --kong-admin-url, or set kong.admin_url in the configuration',
    );
  }
  const workspaces = workspacesOf(options);
  const close = async (): Promise<void> => api.close();
  try {
    await new AdminSource(api, workspaces).check();
  } catch (error) {
    await close();
    throw error;
  }
  return { control: new AdminSecrets(api, workspaces, peppers), close };
}

function workspacesOf({ workspace = '' }: SourceOptions): readonly string[] {
  return workspace.split(',').filter((name) => name !== '');
}

function adminApi(
  options: SourceOptions,
  { kong }: Config,
  limits: { readonly timeoutMs: number; readonly pageSize: number },
): AdminApi | undefined {
  const url = options.kongAdminUrl ?? kong?.adminUrl;
  if (url === undefined) return undefined;
  const tokenFile =
    options.kongTokenFile ?? (options.kongAdminUrl === undefined ? kong?.adminTokenFile : undefined);
  const { kongCaFile, kongCertFile, kongKeyFile, workspaceHeader } = options;
  if ((kongCertFile === undefined) !== (kongKeyFile === undefined)) {
    throw new HkaError('HKA_USAGE', '--kong-cert-file and --kong-key-file go together');
  }
  return new AdminApi({
    url,
    ...limits,
    ...(workspaceHeader === undefined ? {} : { workspaceHeader: workspaceHeader.toLowerCase() }),
    ...(tokenFile === undefined
      ? {}
      : {
          token: () =>
            new Secret(
              readPrivateFile(tokenFile, "the file of Kong's admin token", 'HKA_KONG_UNAVAILABLE').trim(),
            ),
        }),
    ...(kongCaFile === undefined ? {} : { ca: readText(kongCaFile, 'HKA_USAGE', '--kong-ca-file') }),
    ...(kongCertFile === undefined || kongKeyFile === undefined
      ? {}
      : {
          clientCertificate: {
            cert: readText(kongCertFile, 'HKA_USAGE', '--kong-cert-file'),
            key: readPrivateFile(kongKeyFile, 'the key of the client certificate', 'HKA_USAGE'),
          },
        }),
  });
}

function postgresSource(
  kongConf: string,
  options: SourceOptions,
  limits: { readonly timeoutMs: number; readonly pageSize: number },
): PostgresSource {
  const settings = readKongConf(readText(kongConf, 'HKA_USAGE', '--kong-conf'), process.env);
  const { pgPasswordFile, pgCaFile } = options;
  const of = (name: string, usual: string): string => settings.get(name) ?? usual;
  const port = of('pg_port', '5432');
  const ca = pgCaFile ?? settings.get('lua_ssl_trusted_certificate');
  const password = settings.get('pg_password');
  const isOn = (name: string): boolean => settings.get(name) === 'on';
  return new PostgresSource({
    ...limits,
    host: of('pg_host', '127.0.0.1'),
    port: parseWholeNumber('pg_port', port, 1, 65_535),
    database: of('pg_database', 'kong'),
    user: of('pg_user', 'kong'),
    schema: settings.get('pg_schema'),
    password: () => {
      if (pgPasswordFile !== undefined) {
        return new Secret(
          readPrivateFile(pgPasswordFile, "the file of the database's password", 'HKA_USAGE').trimEnd(),
        );
      }
      return password === undefined ? undefined : new Secret(password);
    },
    tls: isOn('pg_ssl')
      ? {
          verify: isOn('pg_ssl_verify') || pgCaFile !== undefined,
          ca: ca === undefined || ca === 'system' ? undefined : readText(ca, 'HKA_USAGE', '--pg-ca-file'),
        }
      : undefined,
  });
}
