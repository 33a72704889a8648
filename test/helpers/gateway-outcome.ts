/** What a running plugin server makes of a key, asked as Kong asks. */
import { headersReply, PluginSocket, stringReply, type Answer } from './plugin-socket.ts';

const CONSUMER = '5ad0a6ae-3a46-4a0c-8b24-7c2b8e8d2f01';

function answers(key: string): Record<string, Answer> {
  return {
    'kong.request.get_headers': () => headersReply({ apikey: key }),
    'kong.request.get_raw_query': () => stringReply(''),
    'kong.client.get_forwarded_ip': () => stringReply('192.0.2.1'),
    'kong.client.load_consumer': () => ({ type: 'Consumer', message: { id: CONSUMER, username: 'alice' } }),
    'kong.nginx.get_var': () => stringReply('0'.repeat(32)),
  };
}

/** `admitted`, or the status of the refusal. */
export async function outcomeOf(socket: string, key: string): Promise<string> {
  const peer = await PluginSocket.open(socket);
  const instance = await peer.start('hashed-key-auth', {});
  const result = await peer.event(instance ?? 0, answers(key));
  peer.close();
  return result.end === 'return' ? 'admitted' : String(result.exit?.status);
}
