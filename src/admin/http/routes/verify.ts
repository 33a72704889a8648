/**
 * Whether a key is good, and whose it is. The key comes in the body, and is in no answer, log or error.
 *
 * An attacker with a token could guess here at weak imported keys. So only roles that may issue keys get it, to whom a guessed
 * one gives nothing that they could not make; there is a limit of its own; and what a limited token does not reach is unknown,
 * and is not looked at any longer than what is not there.
 */
import type { VerificationView } from '../../verify-key.ts';
import { answer, problems } from '../answers.ts';
import { principalOf, type Routes } from '../context.ts';
import { isLimited, reaches } from '../permissions.ts';
import { noQuery, verifyBody, type VerifyBody } from '../schemas.ts';

export const verifyRoutes: Routes = (app, { guesses, verify }) => {
  app.post(
    '/hashed-key-auths/verify',
    {
      config: { permission: 'credentials:verify' },
      schema: {
        operationId: 'verifyKey',
        summary: 'Say whether a key is good, and whose it is',
        description: '20 at once and 2 more a second for each token.',
        querystring: noQuery,
        body: verifyBody,
        response: { 200: answer('Verification', 'What the key is.'), ...problems(413, 415) },
      },
    },
    async (request): Promise<VerificationView> => {
      const principal = principalOf(request);
      const { reach } = principal;
      guesses.charge(principal, 1);
      const { key } = request.body as VerifyBody;
      // Not sorted out afterwards: that argon2 ran would be seen by how long the answer takes.
      return verify(key, isLimited(reach) ? (record) => reaches(reach, record) : undefined);
    },
  );
};
