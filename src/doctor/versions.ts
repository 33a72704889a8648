/** Whether what runs here, and Kong, are versions that this was made for. */
import { kongConsumers } from '../admin/consumers.ts';
import { VERSION } from '../generated/kong-schema.ts';
import { fail, ok, warn, withPart, type Check } from './check.ts';

const MIN_NODE: readonly [number, number] = [20, 19];
/** Before it, Kong's ProtoBuf protocol lacks calls that this needs. */
const MIN_KONG: readonly [number, number] = [3, 4];
const TESTED_KONG = '3.9';

export const versions: Check = {
  id: 'versions',
  title: 'versions',
  run: (context) =>
    withPart(
      'the configuration',
      async () => context.config(),
      async ({ kong }) => {
        const own = `hashed-key-auth ${VERSION}, Node ${process.versions.node}`;
        if (isBefore(process.versions.node, MIN_NODE)) {
          return fail(own, `Node ${MIN_NODE.join('.')} or later is needed`);
        }
        if (kong === undefined) return ok(`${own}; Kong's is not asked for (kong.admin_url is not set)`);
        const version = await kongConsumers(kong).version();
        const found = `${own}, Kong ${version}`;
        if (isBefore(version, MIN_KONG)) return fail(found, `Kong ${MIN_KONG.join('.')} or later is needed`);
        if (!version.startsWith(`${TESTED_KONG}.`)) {
          return warn(
            found,
            `it was tested with Kong ${TESTED_KONG} only: try it on a route that nobody needs first`,
          );
        }
        return ok(found);
      },
    ),
};

function isBefore(version: string, [major, minor]: readonly [number, number]): boolean {
  const [foundMajor = 0, foundMinor = 0] = version.split('.').map(Number);
  return foundMajor < major || (foundMajor === major && foundMinor < minor);
}
