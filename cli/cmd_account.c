/* Accounts, through the admin API. Passwords are wiped when they are no longer needed. */
#include "cli/client.h"

#include "base/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define BATCH_ENTRIES 200
#define BATCH_BYTES (48 * 1024)
#define LINE_BYTES (16 * 1024)
#define PROBLEMS_SHOWN 20

/* ---- one account --------------------------------------------------------------------------------------- */

static int post(struct cli *c, const char *target, json_t *body, const char *said)
{
    json_t *j = NULL;
    int code = client_json(c, target, body, &j);
    const json_t *password = json_object_get(body, "password");
    if (password != NULL)
        explicit_bzero((char *)(uintptr_t)json_string_value(password), json_string_length(password));
    if (code == 0 && c->json)
        cli_print_json(j);
    else if (code == 0)
        printf("%s %s\n", said, cli_str(body, "name"));
    json_decref(body);
    json_decref(j);
    return code;
}

static int secret_body(struct cli *c, json_t **out)
{
    char password[CLI_SECRET_MAX + 1];
    int code = cli_secret(c, password);
    if (code == 0 && !text_utf8_valid(span_str(password)))
        code = cli_fail(c, CLI_USAGE, "the password is not valid UTF-8");
    if (code == 0)
        *out = json_pack("{s:s,s:s}", "name", c->args[0], "password", password);
    explicit_bzero(password, sizeof(password));
    if (code == 0 && *out == NULL)
        code = cli_fail(c, CLI_USAGE, "the account's name is not valid UTF-8");
    return code;
}

static void put_senders(struct cli *c, json_t *body)
{
    json_t *senders = NULL;
    for (int i = 0; i < c->ngiven; i++) {
        if (strcmp(c->given[i].name, "may-send-as") != 0)
            continue;
        if (senders == NULL)
            json_object_set_new(body, "senders", senders = json_array());
        json_array_append_new(senders, json_string(c->given[i].value));
    }
}

int cmd_account_add(struct cli *c)
{
    json_t *body = NULL;
    int code = secret_body(c, &body);
    if (code != 0)
        return code;
    put_senders(c, body);
    if (cli_opt(c, "class") != NULL)
        json_object_set_new(body, "class", json_string(cli_opt(c, "class")));
    if (cli_opt(c, "tenant") != NULL)
        json_object_set_new(body, "tenant", json_string(cli_opt(c, "tenant")));
    if (cli_has(c, "disabled"))
        json_object_set_new(body, "disabled", json_true());
    return post(c, "/v1/accounts/add", body, "added");
}

int cmd_account_passwd(struct cli *c)
{
    json_t *body = NULL;
    int code = secret_body(c, &body);
    return code != 0 ? code : post(c, "/v1/accounts/passwd", body, "password set for");
}

int cmd_account_remove(struct cli *c)
{
    char question[400], name[300];
    cli_safe(c->args[0], name, sizeof(name));
    snprintf(question, sizeof(question), "Remove the account %s?", name);
    int code = cli_confirm(c, question);
    if (code != 0)
        return code;
    json_t *body = json_pack("{s:s}", "name", c->args[0]);
    if (body == NULL)
        return cli_fail(c, CLI_USAGE, "the account's name is not valid UTF-8");
    return post(c, "/v1/accounts/remove", body, "removed");
}

int cmd_account_set(struct cli *c)
{
    json_t *body = json_object();
    int code = cli_put_text(c, body, "name", c->args[0]);
    if (code == 0)
        code = cli_put_text(c, body, "class", cli_opt(c, "class"));
    if (code == 0)
        code = cli_put_text(c, body, "tenant", cli_opt(c, "tenant"));
    put_senders(c, body);
    if (cli_has(c, "no-other-senders"))
        json_object_set_new(body, "senders", json_array());
    if (code == 0 && cli_has(c, "disabled") && cli_has(c, "enabled"))
        code = cli_fail(c, CLI_USAGE, "give --disabled or --enabled, not both");
    if (cli_has(c, "disabled") || cli_has(c, "enabled"))
        json_object_set_new(body, "disabled", json_boolean(cli_has(c, "disabled")));
    if (code == 0)
        return post(c, "/v1/accounts/set", body, "changed");
    json_decref(body);
    return code;
}

int cmd_account_show(struct cli *c)
{
    static const char *const texts[] = { "name", "class", "tenant", "pool" };
    struct client_query q;
    json_t *j = NULL, *s;
    size_t i;
    client_query_init(&q, "/v1/accounts/show");
    client_query_add(&q, "name", c->args[0]);
    int code = client_get(c, &q, &j);
    if (code == 0 && c->json)
        cli_print_json(j);
    for (i = 0; code == 0 && !c->json && i < sizeof(texts) / sizeof(texts[0]); i++) {
        char safe[1024];
        cli_safe(cli_str(j, texts[i]), safe, sizeof(safe));
        if (safe[0] != '\0')
            printf("%-12s %s\n", texts[i], safe);
    }
    if (code == 0 && !c->json) {
        bool disabled = json_is_true(json_object_get(j, "disabled"));
        printf("%-12s %s\n", "login",
               disabled                                           ? "disabled"
               : json_is_true(json_object_get(j, "has_password")) ? "yes"
                                                                  : "no password");
        json_array_foreach(json_object_get(j, "senders"), i, s)
        {
            char safe[1024];
            cli_safe(json_string_value(s), safe, sizeof(safe));
            printf("%-12s %s\n", i == 0 ? "may send as" : "", safe);
        }
    }
    json_decref(j);
    return code;
}

/* ---- list ---------------------------------------------------------------------------------------------- */

static void put_accounts(struct cli *c, const json_t *rows)
{
    static const char *const titles[] = { "NAME", "CLASS", "TENANT", "LOGIN", "MAY ALSO SEND AS" };
    struct cli_table t;
    size_t i, k;
    json_t *r, *s;
    cli_table_init(&t, titles, 5);
    json_array_foreach(rows, i, r)
    {
        char senders[1024] = "";
        bool disabled = json_is_true(json_object_get(r, "disabled"));
        bool password = json_is_true(json_object_get(r, "has_password"));
        json_array_foreach(json_object_get(r, "senders"), k, s)
        {
            size_t n = strlen(senders);
            snprintf(senders + n, sizeof(senders) - n, "%s%s", k > 0 ? " " : "", json_string_value(s));
        }
        cli_table_row(&t);
        cli_table_str(&t, 0, r, "name");
        cli_table_str(&t, 1, r, "class");
        cli_table_str(&t, 2, r, "tenant");
        cli_table_set(&t, 3, disabled ? CLI_RED : CLI_PLAIN, "%s",
                      disabled   ? "disabled"
                      : password ? "yes"
                                 : "no password");
        if (senders[0] != '\0')
            cli_table_set(&t, 4, CLI_PLAIN, "%s", senders);
    }
    cli_table_end(c, &t);
}

int cmd_account_list(struct cli *c)
{
    return cli_list_all(c, "/v1/accounts", "accounts", NULL, put_accounts);
}

/* ---- import -------------------------------------------------------------------------------------------- */

struct import {
    struct cli *cli;
    json_t *batch;
    size_t lines[BATCH_ENTRIES]; /* of the entries in the batch */
    size_t bytes;
    uint64_t taken, refused, read;
    json_t *problems; /* {"line", "name", "message"} */
};

static void add_problem(struct import *im, size_t line, const char *name, const char *message)
{
    im->refused++;
    json_array_append_new(
        im->problems, json_pack("{s:I,s:s,s:s}", "line", (json_int_t)line, "name", name, "message", message));
    if (!im->cli->json && im->refused <= PROBLEMS_SHOWN)
        cli_note("line %zu%s%s: %s", line, name[0] != '\0' ? ", " : "", name, message);
    if (!im->cli->json && im->refused == PROBLEMS_SHOWN + 1)
        cli_note("and more");
}

static int send_batch(struct import *im)
{
    struct cli *c = im->cli;
    json_t *j = NULL, *r;
    size_t i, n = json_array_size(im->batch);
    if (n == 0)
        return 0;
    json_t *body = json_pack("{s:O,s:b}", "accounts", im->batch, "replace", cli_has(c, "replace"));
    int code = client_json(c, "/v1/accounts/import", body, &j);
    json_decref(body);
    im->taken += (uint64_t)cli_int(j, "taken");
    json_array_foreach(json_object_get(j, "refused"), i, r)
    {
        size_t index = (size_t)cli_int(r, "index");
        add_problem(im, index < n ? im->lines[index] : 0, cli_str(r, "name"), cli_str(r, "message"));
    }
    json_decref(j);
    json_array_clear(im->batch);
    im->bytes = 0;
    if (isatty(STDERR_FILENO) && !c->json)
        fprintf(stderr, "\r%" PRIu64 " read, %" PRIu64 " taken ", im->read, im->taken);
    return code;
}

/* Splits "a:b:c" in place: the next field, or NULL when there is none. */
static char *field(char **rest)
{
    return *rest == NULL ? NULL : strsep(rest, ":");
}

/* "senders=a,b disabled" */
static const char *read_options(json_t *entry, char *options)
{
    for (char *word; (word = strsep(&options, " ")) != NULL;) {
        if (word[0] == '\0')
            continue;
        if (strcmp(word, "disabled") == 0) {
            json_object_set_new(entry, "disabled", json_true());
        } else if (strncmp(word, "senders=", 8) == 0) {
            json_t *list = json_array();
            char *rest = word + 8;
            for (char *s; (s = strsep(&rest, ",")) != NULL;)
                json_array_append_new(list, json_string(s));
            json_object_set_new(entry, "senders", list);
        } else {
            return "there are the options senders=LIST and disabled only";
        }
    }
    return NULL;
}

/* NAME:HASH[:CLASS[:TENANT[:OPTIONS]]]; in a Dovecot passwd-file the third and fourth fields are numbers. */
static const char *read_passwd_line(char *line, json_t *entry)
{
    char *rest = line, *name = field(&rest), *hash = field(&rest), *class = field(&rest),
         *tenant = field(&rest);
    bool plain = false;
    if (hash == NULL || name[0] == '\0' || hash[0] == '\0')
        return "a line is NAME:HASH[:CLASS[:TENANT[:OPTIONS]]]";
    json_object_set_new(entry, "name", json_string(name));
    if (hash[0] == '{') {
        char *end = strchr(hash, '}');
        if (end == NULL)
            return "the scheme has no }";
        plain = strncasecmp(hash, "{PLAIN}", 7) == 0;
        if (!plain && end[1] != '$')
            return "only crypt(5) hashes and {PLAIN} can be taken over";
        hash = end + 1;
    }
    json_object_set_new(entry, plain ? "password" : "hash", json_string(hash));
    if (class != NULL && (class[0] == '\0' || (class[0] >= '0' && class[0] <= '9')))
        return NULL;
    if (class != NULL)
        json_object_set_new(entry, "class", json_string(class));
    if (tenant != NULL && tenant[0] != '\0')
        json_object_set_new(entry, "tenant", json_string(tenant));
    return rest != NULL ? read_options(entry, rest) : NULL;
}

static int take_line(struct import *im, size_t number, char *line)
{
    json_error_t why;
    const char *problem = NULL;
    size_t n = strlen(line);
    im->read++;
    if (!text_utf8_valid(span_of(line, n))) {
        add_problem(im, number, "", "is not valid UTF-8");
        return 0;
    }
    json_t *entry = line[0] == '{' ? json_loads(line, JSON_REJECT_DUPLICATES, &why) : json_object();
    if (line[0] != '{')
        problem = read_passwd_line(line, entry);
    else if (!json_is_object(entry))
        problem = "is no JSON object";
    if (problem != NULL) {
        add_problem(im, number, cli_str(entry, "name"), problem);
        json_decref(entry);
        return 0;
    }
    if (cli_has(im->cli, "dry-run")) {
        im->taken++;
        json_decref(entry);
        return 0;
    }
    int code = 0;
    n = n * 2 + 64; /* as JSON, with its member names: a generous guess, checked by the node */
    if (json_array_size(im->batch) == BATCH_ENTRIES || im->bytes + n > BATCH_BYTES)
        code = send_batch(im);
    im->lines[json_array_size(im->batch)] = number;
    im->bytes += n;
    json_array_append_new(im->batch, entry);
    return code;
}

static int read_file(struct import *im, FILE *f)
{
    char *line = malloc(LINE_BYTES);
    int code = line == NULL ? cli_fail(im->cli, CLI_FAILED, "out of memory") : 0;
    for (size_t number = 1; code == 0 && fgets(line, LINE_BYTES, f) != NULL; number++) {
        size_t n = strlen(line);
        bool whole = n < LINE_BYTES - 1 || line[n - 1] == '\n';
        line[strcspn(line, "\r\n")] = '\0';
        if (!whole)
            code =
                cli_fail(im->cli, CLI_FAILED, "line %zu is longer than %d bytes: nothing after it was read",
                         number, LINE_BYTES - 2);
        else if (line[0] != '\0' && line[0] != '#')
            code = take_line(im, number, line);
    }
    if (line != NULL)
        explicit_bzero(line, LINE_BYTES);
    free(line);
    if (code == 0 && ferror(f))
        code = cli_fail(im->cli, CLI_FAILED, "can't read the file: %s", strerror(errno));
    return code;
}

static int import_end(struct import *im, int code)
{
    struct cli *c = im->cli;
    if (isatty(STDERR_FILENO) && !c->json && im->read > 0)
        fprintf(stderr, "\r                                        \r");
    if (c->json) {
        json_t *j = json_pack("{s:I,s:I,s:O}", "taken", (json_int_t)im->taken, "refused",
                              (json_int_t)im->refused, "problems", im->problems);
        cli_print_json(j);
        json_decref(j);
    } else {
        printf("%" PRIu64 " account(s) %s, %" PRIu64 " refused\n", im->taken,
               cli_has(c, "dry-run") ? "could be read" : "taken", im->refused);
    }
    if (code != 0)
        return im->taken > 0 ? CLI_PARTLY : code;
    return im->refused == 0 ? CLI_OK : im->taken > 0 ? CLI_PARTLY : CLI_FAILED;
}

int cmd_account_import(struct cli *c)
{
    bool standard = strcmp(c->args[0], "-") == 0;
    FILE *f = standard ? stdin : fopen(c->args[0], "re");
    if (f == NULL)
        return cli_fail(c, CLI_FAILED, "can't read %s: %s", c->args[0], strerror(errno));
    struct import im = { .cli = c, .batch = json_array(), .problems = json_array() };
    int code = read_file(&im, f);
    if (code == 0)
        code = send_batch(&im);
    if (!standard)
        fclose(f);
    code = import_end(&im, code);
    json_decref(im.batch);
    json_decref(im.problems);
    return code;
}
