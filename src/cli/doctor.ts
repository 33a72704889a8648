/** `doctor`: runs every check and says what to do. Exit status 1 when one fails. */
import { runCheck, type CheckResult } from '../doctor/check.ts';
import { CHECKS } from '../doctor/checks.ts';
import { DoctorContext, type DoctorOptions } from '../doctor/context.ts';
import { table, type Output } from './output.ts';

export async function doctor(output: Output, options: DoctorOptions): Promise<number> {
  const context = new DoctorContext(options);
  const checks: ({ readonly id: string; readonly title: string } & CheckResult)[] = [];
  try {
    for (const check of CHECKS) {
      const { id, title } = check;
      checks.push({ id, title, ...(await runCheck(check, context)) });
    }
  } finally {
    await context.close();
  }
  const isHealthy = checks.every(({ status }) => status !== 'fail');
  const advice = checks.filter((check) => check.advice !== undefined);
  output.result(
    { ok: isHealthy, checks },
    [
      table(
        ['CHECK', 'STATUS', 'FOUND'],
        checks.map(({ title, status, found }) => [title, status, found]),
      ),
      ...(advice.length === 0 ? [] : ['', 'To do:']),
      ...advice.map(({ title, advice: text = '' }) => `  ${title}: ${text}`),
    ].join('\n'),
  );
  return isHealthy ? 0 : 1;
}
