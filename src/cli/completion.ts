/** `completion bash|zsh`: a script for the shell, made from the commands themselves, so that it is never behind them. */
import type { Command } from 'commander';
import { ROLES } from '../admin/http/permissions.ts';
import { FORMATS, SEVERITIES } from '../audit/rule.ts';
import { kongPlugins } from '../generated/kong-schema.ts';
import { HkaError } from '../lib/errors.ts';
import { STATES } from '../store/record.ts';
import { POLICY_SERVICES } from '../runtime/vault-policy.ts';

export const SHELLS = ['bash', 'zsh'] as const;

/** What may stand after these options, and as the argument of these commands. */
const VALUES: Readonly<Record<string, readonly string[]>> = {
  'keys list --state': STATES,
  'admin-token create --role': ROLES,
  'vault policy --service': POLICY_SERVICES,
  'audit --format': FORMATS,
  'audit --fail-on': [...SEVERITIES, 'never'],
};
const ARGUMENTS: Readonly<Record<string, readonly string[]>> = {
  dump: Object.keys(kongPlugins),
  completion: SHELLS,
};
/** Names of arguments that are files. */
const FILES = new Set(['file', 'folder', 'paths']);

interface Words {
  /** The commands so far, such as `keys rotate`. */
  readonly path: string;
  /** Commands below it. */
  readonly words: readonly string[];
  /** What its argument may be. */
  readonly values: readonly string[];
  readonly options: readonly string[];
  readonly takesFiles: boolean;
}

export function completionScript(program: Command, shell: string): string {
  if (!SHELLS.includes(shell as (typeof SHELLS)[number])) {
    throw new HkaError('HKA_USAGE', `there is no completion for "${shell}"; there is: ${SHELLS.join(', ')}`);
  }
  const cases = collect(program, '')
    .map(
      ({ path, words, values, options, takesFiles }) =>
        `    '${path}') words='${words.join(' ')}' values='${values.join(' ')}' options='${options.join(' ')}'${takesFiles ? ' files=1' : ''} ;;`,
    )
    .join('\n');
  const afterOptions = Object.entries(VALUES)
    .map(([option, allowed]) => `    '${option}') values='${allowed.join(' ')}' ;;`)
    .join('\n');
  const bash = `# Completion of hashed-key-auth. Made by \`hashed-key-auth completion ${shell}\`.
_hashed_key_auth() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD-1]} path='' word words='' values='' options='' files=''
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case $word in -*) ;; *) _hashed_key_auth_known "$path" "$word" && path="\${path:+$path }$word" ;; esac
  done
  case $previous in --config|-c|--out|--journal|--kong-conf|--kong|--*-config|--*-file|--file|--pepper-backup|--baseline|--write-baseline|--residue) COMPREPLY=($(compgen -f -- "$current")); return ;; esac
  case "$path $previous" in
${afterOptions}
  esac
  [[ -n $values ]] && { COMPREPLY=($(compgen -W "$values" -- "$current")); return; }
  _hashed_key_auth_words "$path"
  if [[ $current == -* ]]; then words='' values=''; elif [[ -n $files ]]; then COMPREPLY=($(compgen -f -- "$current")); return; fi
  COMPREPLY=($(compgen -W "\${words:-\${values:-$options}}" -- "$current"))
  [[ \${#COMPREPLY[@]} -eq 0 && $current != -* ]] && COMPREPLY=($(compgen -f -- "$current"))
}
_hashed_key_auth_known() {
  local words='' values='' options='' files=''
  _hashed_key_auth_words "$1"
  [[ " $words " == *" $2 "* ]]
}
_hashed_key_auth_words() {
  case $1 in
${cases}
    *) words='' ;;
  esac
}
complete -F _hashed_key_auth hashed-key-auth
`;
  return shell === 'bash' ? bash : `autoload -U +X bashcompinit && bashcompinit\n${bash}`;
}

function collect(command: Command, path: string): Words[] {
  const options = command.options.map(({ long, short }) => long ?? short ?? '').filter((word) => word !== '');
  return [
    {
      path,
      words: command.commands.map((child) => child.name()),
      values: ARGUMENTS[path] ?? [],
      options: [...options, '--help'],
      takesFiles: command.registeredArguments.some((argument) => FILES.has(argument.name())),
    },
    ...command.commands.flatMap((child) =>
      collect(child, path === '' ? child.name() : `${path} ${child.name()}`),
    ),
  ];
}
