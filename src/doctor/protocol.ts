/** Whether the server answers as Kong needs it, and is of this version: after an upgrade, the old one may still run. */
import { kongPlugins } from '../generated/kong-schema.ts';
import { fail, ok, type Check } from './check.ts';
import { NO_ANSWER, withServer } from './server.ts';

const PLUGIN = kongPlugins['hashed-key-auth'];

export const protocol: Check = {
  id: 'protocol',
  title: 'protocol with Kong',
  otherwise: NO_ANSWER,
  run: (context) =>
    withServer(context, async () => {
      const info = await context.kongPeer().info();
      const [own] = PLUGIN.dump.Plugins;
      if (info.version !== own.Version) {
        return fail(
          `the server that runs is version ${info.version}, and this is ${own.Version}`,
          'restart `serve`, and `kong reload` or restart Kong, so that all three are of one version',
        );
      }
      return ok(`${PLUGIN.dump.Protocol}, ${info.name} ${info.version}, an instance can be started`);
    }),
};
