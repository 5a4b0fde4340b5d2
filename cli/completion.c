/* Shell completion, made from the table of commands. Words of the table are plain letters and dashes; help
 * texts are quoted for their shell.
 */
#include "cli/cli.h"

#include <stdio.h>

static void quoted(const char *s)
{
    putchar('\'');
    for (; *s != '\0'; s++)
        if (*s == '\'')
            printf("'\\''");
        else
            putchar(*s);
    putchar('\'');
}

/* "a|b" -> "a b" */
static void words(const char *choices)
{
    for (; *choices != '\0'; choices++)
        putchar(*choices == '|' ? ' ' : *choices);
}

/* The first word of each command, once. */
static bool first_word(size_t i, char out[32])
{
    size_t n = strcspn(cli_commands[i].name, " ");
    snprintf(out, 32, "%.*s", (int)n, cli_commands[i].name);
    for (size_t k = 0; k < i; k++)
        if (strcspn(cli_commands[k].name, " ") == n && strncmp(cli_commands[k].name, out, n) == 0)
            return false;
    return true;
}

static void each_option(const struct cli_command *m, void (*fn)(const struct cli_option *))
{
    for (const struct cli_option *o = m->options; o->name != NULL; o++)
        fn(o);
    for (const struct cli_option *o = cli_global_options; o->name != NULL; o++)
        fn(o);
}

/* ---- bash ---------------------------------------------------------------------------------------------- */

static void bash_value(const struct cli_option *o)
{
    if (o->arg == NULL)
        return;
    printf("        '");
    printf("--%s') ", o->name);
    if (o->choices == NULL)
        printf("return ;;\n");
    else if (o->choices[0] == '@')
        printf("COMPREPLY=($(compgen -%c -- \"$cur\")); return ;;\n", o->choices[1] == 'd' ? 'd' : 'f');
    else {
        printf("COMPREPLY=($(compgen -W '");
        words(o->choices);
        printf("' -- \"$cur\")); return ;;\n");
    }
}

static void bash_name(const struct cli_option *o)
{
    printf("--%s ", o->name);
}

static void bash(void)
{
    char word[32];
    printf("# bash completion for turnpike\n_turnpike() {\n"
           "    local cur prev cmd i words=()\n    COMPREPLY=()\n"
           "    cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
           "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
           "        [[ ${COMP_WORDS[i]} == -* ]] || words+=(\"${COMP_WORDS[i]}\")\n    done\n"
           "    cmd=\"${words[0]} ${words[1]}\"\n    case $cmd in\n");
    for (size_t i = 0; i < cli_ncommands; i++) {
        const struct cli_command *m = &cli_commands[i];
        bool two = strchr(m->name, ' ') != NULL;
        printf("    '%s'%s)\n        case $prev in\n", m->name, two ? "" : "\\ *");
        each_option(m, bash_value);
        printf("        esac\n        if [[ $cur == -* ]]; then COMPREPLY=($(compgen -W '");
        each_option(m, bash_name);
        printf("' -- \"$cur\"))");
        if (m->arg_choices != NULL && m->arg_choices[0] == '@') {
            printf("; else COMPREPLY=($(compgen -%c -- \"$cur\"))", m->arg_choices[1] == 'd' ? 'd' : 'f');
        } else if (m->arg_choices != NULL) {
            printf("; else COMPREPLY=($(compgen -W '");
            words(m->arg_choices);
            printf("' -- \"$cur\"))");
        }
        printf("; fi ;;\n");
    }
    for (size_t i = 0; i < cli_ncommands; i++) {
        if (!first_word(i, word) || strchr(cli_commands[i].name, ' ') == NULL)
            continue;
        size_t n = strlen(word);
        printf("    '%s'\\ *) COMPREPLY=($(compgen -W '", word);
        for (size_t k = i; k < cli_ncommands; k++)
            if (strncmp(cli_commands[k].name, word, n) == 0 && cli_commands[k].name[n] == ' ')
                printf("%s ", cli_commands[k].name + n + 1);
        printf("' -- \"$cur\")) ;;\n");
    }
    printf("    *) COMPREPLY=($(compgen -W '");
    for (size_t i = 0; i < cli_ncommands; i++)
        if (first_word(i, word))
            printf("%s ", word);
    printf("' -- \"$cur\")) ;;\n    esac\n}\ncomplete -F _turnpike turnpike\n");
}

/* ---- zsh ----------------------------------------------------------------------------------------------- */

/* Inside '...' of _arguments, where : and [ ] have a meaning. */
static void zsh_text(const char *s)
{
    for (; *s != '\0'; s++)
        if (*s == '\'')
            printf("'\\''");
        else if (strchr(":[]\\", *s) != NULL)
            printf("\\%c", *s);
        else
            putchar(*s);
}

static void zsh_choices(const char *choices)
{
    if (choices == NULL)
        return;
    if (choices[0] == '@') {
        printf("_files%s", choices[1] == 'd' ? " -/" : "");
        return;
    }
    putchar('(');
    words(choices);
    putchar(')');
}

static void zsh_option(const struct cli_option *o)
{
    printf(" \\\n            '--%s%s[", o->name, o->arg != NULL ? "=" : "");
    zsh_text(o->help);
    putchar(']');
    if (o->arg != NULL) {
        printf(":%s:", o->arg);
        zsh_choices(o->choices);
    }
    putchar('\'');
}

static void zsh(void)
{
    printf(
        "#compdef turnpike\n_turnpike() {\n    local -a cmds\n    local cmd=\"${words[2]} ${words[3]}\" n=2\n"
        "    if (( CURRENT == 2 )); then\n        cmds=(\n");
    char word[32];
    for (size_t i = 0; i < cli_ncommands; i++)
        if (first_word(i, word)) {
            printf("            '%s:", word);
            zsh_text(strchr(cli_commands[i].name, ' ') == NULL ? cli_commands[i].summary
                                                               : "several commands");
            printf("'\n");
        }
    printf(
        "        )\n        _describe command cmds\n        return\n    fi\n    if (( CURRENT == 3 )); then\n"
        "        case ${words[2]} in\n");
    for (size_t i = 0; i < cli_ncommands; i++) {
        if (!first_word(i, word) || strchr(cli_commands[i].name, ' ') == NULL)
            continue;
        size_t n = strlen(word);
        printf("        %s)\n            cmds=(\n", word);
        for (size_t k = i; k < cli_ncommands; k++)
            if (strncmp(cli_commands[k].name, word, n) == 0 && cli_commands[k].name[n] == ' ') {
                printf("                '%s:", cli_commands[k].name + n + 1);
                zsh_text(cli_commands[k].summary);
                printf("'\n");
            }
        printf("            )\n            _describe command cmds\n            return ;;\n");
    }
    printf("        esac\n    fi\n    case $cmd in\n");
    for (size_t i = 0; i < cli_ncommands; i++) {
        const struct cli_command *m = &cli_commands[i];
        bool two = strchr(m->name, ' ') != NULL;
        printf("    '%s'%s)\n        shift %d words; (( CURRENT -= %d ))\n        _arguments", m->name,
               two ? "" : "\\ *", two ? 2 : 1, two ? 2 : 1);
        each_option(m, zsh_option);
        if (m->max_args != 0) {
            printf(" \\\n            '*:");
            zsh_text(m->args);
            putchar(':');
            zsh_choices(m->arg_choices);
            putchar('\'');
        }
        printf(" ;;\n");
    }
    printf("    esac\n}\n_turnpike \"$@\"\n");
}

/* ---- fish ---------------------------------------------------------------------------------------------- */

static char fish_condition[160]; /* of the command whose options are printed */

static void fish_option(const struct cli_option *o)
{
    printf("complete -c turnpike -n ");
    quoted(fish_condition);
    printf(" -l %s -d ", o->name);
    quoted(o->help);
    if (o->arg != NULL && o->choices != NULL && o->choices[0] != '@') {
        printf(" -x -a '");
        words(o->choices);
        putchar('\'');
    } else if (o->arg != NULL) {
        printf(o->choices != NULL ? " -r -F" : " -x");
    }
    putchar('\n');
}

static void fish(void)
{
    char word[32];
    printf("# fish completion for turnpike\ncomplete -c turnpike -f\n");
    for (size_t i = 0; i < cli_ncommands; i++) {
        const struct cli_command *m = &cli_commands[i];
        const char *second = strchr(m->name, ' ');
        bool first = first_word(i, word);
        if (first) {
            printf("complete -c turnpike -n __fish_use_subcommand -a %s -d ", word);
            quoted(second == NULL ? m->summary : "several commands");
            putchar('\n');
        }
        snprintf(fish_condition, sizeof(fish_condition), "__fish_seen_subcommand_from %s", word);
        if (second != NULL) {
            printf("complete -c turnpike -n ");
            quoted(fish_condition);
            printf(" -a %s -d ", second + 1);
            quoted(m->summary);
            putchar('\n');
            snprintf(fish_condition, sizeof(fish_condition),
                     "__fish_seen_subcommand_from %s; and __fish_seen_subcommand_from %s", word, second + 1);
        }
        if (m->arg_choices != NULL) {
            printf("complete -c turnpike -n ");
            quoted(fish_condition);
            if (m->arg_choices[0] == '@') {
                printf(" -F");
            } else {
                printf(" -a '");
                words(m->arg_choices);
                putchar('\'');
            }
            putchar('\n');
        }
        each_option(m, fish_option);
    }
}

int cli_completion(const char *shell)
{
    if (strcmp(shell, "bash") == 0)
        bash();
    else if (strcmp(shell, "zsh") == 0)
        zsh();
    else
        fish();
    return CLI_OK;
}
