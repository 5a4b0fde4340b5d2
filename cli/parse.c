/* Reads the arguments against the table of commands; options may stand anywhere after the command's name. */
#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>

const struct cli_command *cli_find(const char *name)
{
    for (size_t i = 0; i < cli_ncommands; i++)
        if (strcmp(cli_commands[i].name, name) == 0)
            return &cli_commands[i];
    return NULL;
}

/* Letters to add, drop or change. */
static unsigned distance(const char *a, const char *b)
{
    unsigned row[64];
    size_t n = strlen(b);
    if (n >= 63 || strlen(a) >= 63)
        return 99;
    for (unsigned j = 0; j <= n; j++)
        row[j] = j;
    for (unsigned i = 1; a[i - 1] != '\0'; i++) {
        unsigned corner = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            unsigned change = corner + (a[i - 1] != b[j - 1]);
            corner = row[j];
            unsigned step = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            row[j] = step < change ? step : change;
        }
    }
    return row[n];
}

const char *cli_nearest(const char *name)
{
    const char *best = NULL;
    unsigned least = (unsigned)strlen(name) / 3 + 2;
    for (size_t i = 0; i < cli_ncommands; i++) {
        unsigned d = distance(name, cli_commands[i].name);
        if (d < least) {
            least = d;
            best = cli_commands[i].name;
        }
    }
    return best;
}

static bool is_group(const char *word)
{
    size_t n = strlen(word);
    for (size_t i = 0; i < cli_ncommands; i++)
        if (strncmp(cli_commands[i].name, word, n) == 0 && cli_commands[i].name[n] == ' ')
            return true;
    return false;
}

const char *cli_opt(const struct cli *c, const char *name)
{
    for (int i = c->ngiven - 1; i >= 0; i--)
        if (strcmp(c->given[i].name, name) == 0)
            return c->given[i].value;
    return NULL;
}

bool cli_has(const struct cli *c, const char *name)
{
    return cli_opt(c, name) != NULL;
}

static const struct cli_option *find_option(const struct cli_option *table, const char *name, size_t n)
{
    for (const struct cli_option *o = table; o != NULL && o->name != NULL; o++)
        if (strlen(o->name) == n && strncmp(o->name, name, n) == 0)
            return o;
    return NULL;
}

static int unknown_option(struct cli *c, const char *name, size_t n)
{
    char given[64], text[160] = "";
    unsigned least = (unsigned)n / 3 + 2;
    const struct cli_option *tables[] = { c->command != NULL ? c->command->options : NULL,
                                          cli_global_options };
    snprintf(given, sizeof(given), "%.*s", (int)(n < 60 ? n : 60), name);
    for (int t = 0; t < 2; t++)
        for (const struct cli_option *o = tables[t]; o != NULL && o->name != NULL; o++)
            if (distance(given, o->name) < least) {
                least = distance(given, o->name);
                snprintf(text, sizeof(text), "; did you mean --%s?", o->name);
            }
    if (text[0] == '\0')
        snprintf(text, sizeof(text), "; see turnpike help%s%s", c->command != NULL ? " " : "",
                 c->command != NULL ? c->command->name : "");
    return cli_fail(c, CLI_USAGE, "there is no option --%s%s", given, text);
}

static bool choice_ok(const char *choices, const char *value)
{
    size_t len = strlen(value);
    if (choices == NULL || choices[0] == '@')
        return true;
    for (const char *p = choices; *p != '\0';) {
        size_t n = strcspn(p, "|");
        if (n == len && strncmp(p, value, n) == 0)
            return true;
        p += n + (p[n] == '|');
    }
    return false;
}

/* argv[*i] is "--name", "--name=value"; takes the next one too where a value is needed. */
static int take_option(struct cli *c, int argc, char **argv, int *i)
{
    const char *name = argv[*i] + 2, *equals = strchr(name, '=');
    size_t n = equals != NULL ? (size_t)(equals - name) : strlen(name);
    const struct cli_option *o = c->command != NULL ? find_option(c->command->options, name, n) : NULL;
    if (o == NULL)
        o = find_option(cli_global_options, name, n);
    if (o == NULL)
        return unknown_option(c, name, n);
    if (o->arg == NULL && equals != NULL)
        return cli_fail(c, CLI_USAGE, "--%s takes no value", o->name);
    if (o->arg != NULL && equals == NULL && *i + 1 >= argc)
        return cli_fail(c, CLI_USAGE, "--%s needs a value: --%s %s", o->name, o->name, o->arg);
    const char *value = o->arg == NULL ? "" : equals != NULL ? equals + 1 : argv[++*i];
    if (o->arg != NULL && !choice_ok(o->choices, value))
        return cli_fail(c, CLI_USAGE, "--%s must be one of %s", o->name, o->choices);
    if (c->ngiven == CLI_GIVEN_MAX)
        return cli_fail(c, CLI_USAGE, "too many options");
    c->given[c->ngiven].name = o->name;
    c->given[c->ngiven++].value = value;
    c->json = c->json || strcmp(o->name, "json") == 0;
    return 0;
}

/* "queue" and "list" -> the command; one word suffices for those of one word. */
static int find_command(struct cli *c, const char *word, const char *second, int *words)
{
    char both[80];
    c->command = cli_find(word);
    *words = 1;
    if (c->command != NULL)
        return 0;
    snprintf(both, sizeof(both), "%.38s %.38s", word, second != NULL ? second : "");
    *words = 2;
    c->command = second != NULL ? cli_find(both) : NULL;
    if (c->command != NULL)
        return 0;
    if (is_group(word) && second == NULL)
        return cli_fail(c, CLI_USAGE, "%s needs a word more; see turnpike help %s", word, word);
    const char *near = cli_nearest(both);
    if (near == NULL || !is_group(word))
        near = cli_nearest(word) != NULL ? cli_nearest(word) : near;
    if (near != NULL)
        return cli_fail(c, CLI_USAGE, "there is no command \"%s\"; did you mean \"%s\"?",
                        is_group(word) ? both : word, near);
    return cli_fail(c, CLI_USAGE, "there is no command \"%s\"; see turnpike help",
                    is_group(word) ? both : word);
}

static int check_args(struct cli *c)
{
    const struct cli_command *m = c->command;
    if (c->nargs < m->min_args)
        return cli_fail(c, CLI_USAGE, "%s needs %s; see turnpike help %s", m->name, m->args, m->name);
    if (m->max_args >= 0 && c->nargs > m->max_args)
        return cli_fail(c, CLI_USAGE, "%s does not take \"%s\"; see turnpike help %s", m->name,
                        c->args[m->max_args], m->name);
    for (int i = 0; i < c->nargs; i++)
        if (!choice_ok(m->arg_choices, c->args[i]))
            return cli_fail(c, CLI_USAGE, "%s must be one of %s", m->args, m->arg_choices);
    return 0;
}

/* The words of the command may have options before them: collect words first. */
static int next_words(int argc, char **argv, const char *words[2], int at[2])
{
    int n = 0;
    for (int i = 1; i < argc && n < 2; i++) {
        if (strcmp(argv[i], "--") == 0)
            break;
        if (argv[i][0] == '-' && argv[i][1] == '-') {
            const struct cli_option *o = find_option(cli_global_options, argv[i] + 2, strlen(argv[i] + 2));
            i += o != NULL && o->arg != NULL;
            continue;
        }
        if (argv[i][0] == '-' && argv[i][1] != '\0')
            continue;
        if (n == 1 && cli_find(words[0]) != NULL)
            break;
        words[n] = argv[i];
        at[n++] = i;
    }
    return n;
}

int cli_parse(struct cli *c, int argc, char **argv, const char **help)
{
    const char *words[2] = { NULL, NULL };
    int at[2] = { -1, -1 }, nwords, used = 0, code = 0;
    *help = NULL;
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        c->json = c->json || strcmp(argv[i], "--json") == 0;
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            *help = "";
    }
    nwords = next_words(argc, argv, words, at);
    if (nwords == 0 && argc > 1 && (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)) {
        c->command = cli_find("version");
        return 0;
    }
    if (nwords == 0 && *help == NULL)
        return argc > 1 ? cli_fail(c, CLI_USAGE, "there is no command; see turnpike help") : (*help = "", 0);
    if (nwords == 0)
        return 0;
    if (*help != NULL && nwords == 1 && is_group(words[0])) {
        *help = words[0];
        return 0;
    }
    code = find_command(c, words[0], words[1], &used);
    if (code != 0)
        return code;
    if (*help != NULL) {
        *help = c->command->name;
        return 0;
    }
    bool options = true;
    for (int i = 1; i < argc && code == 0; i++) {
        if (i == at[0] || (used == 2 && i == at[1]))
            continue;
        if (options && strcmp(argv[i], "--") == 0)
            options = false;
        else if (options && argv[i][0] == '-' && argv[i][1] == '-')
            code = take_option(c, argc, argv, &i);
        else if (options && argv[i][0] == '-' && argv[i][1] != '\0')
            code = cli_fail(c, CLI_USAGE, "there is no option %s; options have two dashes", argv[i]);
        else if (c->nargs == CLI_ARGS_MAX)
            code = cli_fail(c, CLI_USAGE, "more than %d arguments", CLI_ARGS_MAX);
        else
            c->args[c->nargs++] = argv[i];
    }
    return code == 0 ? check_args(c) : code;
}
