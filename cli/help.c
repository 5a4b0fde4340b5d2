/* Help, made from the table of commands. */
#include "cli/cli.h"

#include <stdio.h>

#define WRAP 78

/* Text folded at blanks. */
static void fold(const char *text)
{
    while (*text != '\0') {
        size_t n = strlen(text);
        if (n > WRAP) {
            n = WRAP;
            while (n > 0 && text[n] != ' ')
                n--;
            if (n == 0)
                n = WRAP;
        }
        printf("%.*s\n", (int)n, text);
        text += n + (text[n] == ' ');
    }
}

static void put_options(const char *title, const struct cli_option *table)
{
    if (table == NULL || table->name == NULL)
        return;
    printf("\n%s:\n", title);
    for (const struct cli_option *o = table; o->name != NULL; o++) {
        char left[64];
        snprintf(left, sizeof(left), "--%s%s%s", o->name, o->arg != NULL ? " " : "",
                 o->arg != NULL ? o->arg : "");
        printf("  %-22s %s", left, o->help);
        if (o->choices != NULL && o->choices[0] != '@')
            printf(": %s", o->choices);
        putchar('\n');
    }
}

static void put_command(const struct cli_command *m)
{
    printf("Usage: turnpike %s%s%s%s\n\n", m->name, m->args[0] != '\0' ? " " : "", m->args,
           m->options->name != NULL ? " [OPTIONS]" : "");
    printf("%c%s.\n", m->summary[0] - 'a' + 'A', m->summary + 1);
    if (m->details != NULL) {
        putchar('\n');
        fold(m->details);
    }
    put_options("Options", m->options);
    put_options("Options of every command", cli_global_options);
    printf("\nExamples:\n%s", m->examples);
}

static bool put_list(const char *group)
{
    size_t n = strlen(group);
    bool any = false;
    for (size_t i = 0; i < cli_ncommands; i++) {
        const struct cli_command *m = &cli_commands[i];
        char left[64];
        if (n > 0 && (strncmp(m->name, group, n) != 0 || m->name[n] != ' '))
            continue;
        snprintf(left, sizeof(left), "%s %s", m->name, m->args);
        printf("  %-26s %s\n", left, m->summary);
        any = true;
    }
    return any;
}

static void put_overview(void)
{
    printf("Usage: turnpike COMMAND [ARGS] [OPTIONS]\n\nOperates a node of the Turnpike mail "
           "relay, or its cluster.\n\nCommands:\n");
    put_list("");
    put_options("Options of every command", cli_global_options);
    printf("\nExit codes: 0 well, 1 refused or failed, 2 wrong usage, 3 the node cannot be reached, 4 not "
           "found,\n"
           "5 done in part, 6 the cluster has no majority.\n\nturnpike help COMMAND says "
           "more; so does turnpike(1).\n");
}

int cli_help(const char *topic)
{
    const struct cli_command *m = cli_find(topic);
    if (topic[0] == '\0')
        put_overview();
    else if (m != NULL)
        put_command(m);
    else if (!put_list(topic)) {
        const char *near = cli_nearest(topic);
        return cli_fail(NULL, CLI_USAGE,
                        near != NULL ? "there is no command \"%s\"; did you mean \"%s\"?"
                                     : "there is no command \"%s\"; see turnpike help",
                        topic, near);
    }
    return CLI_OK;
}
