/* turnpike, the operator's command line: what its files share.
 *
 * One thread, one command, one node. It speaks the admin API (docs/admin-api.md) and knows nothing else of
 * the node; a few commands run turnpiked itself (config check FILE, spool verify DIR, dkim), so that they work
 * without a node. Everything that a server said is escaped before it reaches a terminal.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "base/buf.h"
#include "base/span.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum cli_exit { /* documented in turnpike(1) */
                CLI_OK = 0,
                CLI_FAILED = 1,
                CLI_USAGE = 2,
                CLI_UNREACHABLE = 3,
                CLI_NOT_FOUND = 4,
                CLI_PARTLY = 5,
                CLI_NO_MAJORITY = 6, /* of the cluster: try later, or on another node */
};

struct cli_option {
    const char *name;    /* without --; NULL ends a table */
    const char *arg;     /* name of its argument; NULL: none */
    const char *choices; /* "a|b", "@file" or "@dir" for completion and, if a list, for checking; NULL: any */
    const char *help;
};

struct cli;

struct cli_command {
    const char *name;        /* "queue list" */
    const char *args;        /* "[ID...]", or "" */
    int min_args, max_args;  /* -1: any number */
    const char *arg_choices; /* as in an option, of its arguments */
    const struct cli_option *options;
    const char *summary;       /* one line, lower case, no stop */
    const char *details;       /* NULL or more, for help */
    const char *examples;      /* lines after two blanks; never NULL */
    int (*run)(struct cli *c); /* returns an exit code */
};

extern const struct cli_command cli_commands[];
extern const size_t cli_ncommands;
extern const struct cli_option cli_global_options[];

#define CLI_GIVEN_MAX 64
#define CLI_ARGS_MAX 1024

struct cli {
    const struct cli_command *command;
    struct {
        const char *name, *value; /* value: "" for one without argument */
    } given[CLI_GIVEN_MAX];
    int ngiven;
    const char *args[CLI_ARGS_MAX];
    int nargs;
    bool json, colour, tty; /* tty: standard output is a terminal */
    int width;              /* columns of the terminal; 0: unbounded */
    int64_t now_ms;
    void *http; /* client.c's */
};

int cli_main(int argc, char **argv);

/* ---- parse.c ------------------------------------------------------------------------------------------- */

/* Fills c; 0, or CLI_USAGE after saying what is wrong. Sets *help to the topic ("" : all) when help was asked
 * for. */
int cli_parse(struct cli *c, int argc, char **argv, const char **help);
const struct cli_command *cli_find(const char *name);
/* The nearest command, or NULL. */
const char *cli_nearest(const char *name);
const char *cli_opt(const struct cli *c, const char *name); /* the last value, or NULL */
bool cli_has(const struct cli *c, const char *name);

/* ---- help.c, completion.c ------------------------------------------------------------------------------ */

int cli_help(const char *topic); /* "": overview; a group ("queue"); a command */
int cli_completion(const char *shell);

/* ---- say.c --------------------------------------------------------------------------------------------- */

/* One line on standard error: "turnpike: ..."; under --json also an error object on standard output. Returns
 * code. */
int cli_fail(struct cli *c, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* `code_text` as the API names it. */
int cli_fail_as(struct cli *c, int code, const char *code_text, const char *message);
void cli_note(const char *fmt, ...) __attribute__((format(printf, 1, 2))); /* standard error */
/* Prints the document and returns 0. */
int cli_print_json(const json_t *j);

/* Text for people, escaped; `out` NULL-terminated and cut. */
void cli_safe(const char *s, char *out, size_t cap);
/* "5m ago", "in 2h", "-" for none. */
void cli_when(const struct cli *c, const json_t *ms, char *out, size_t cap);
/* "2026-11-21 21:03:57 +0000" local time, "-" for none. */
void cli_time(const json_t *ms, char *out, size_t cap);
void cli_size(uint64_t bytes, char *out, size_t cap);
enum cli_colour { CLI_PLAIN, CLI_BOLD, CLI_DIM, CLI_GREEN, CLI_YELLOW, CLI_RED };
const char *cli_sgr(const struct cli *c, enum cli_colour colour); /* "" without colour */
enum cli_colour cli_state_colour(const char *state);

/* JSON access that forgives what is missing. */
const char *cli_str(const json_t *j, const char *name); /* "" */
int64_t cli_int(const json_t *j, const char *name);     /* 0 */
double cli_real(const json_t *j, const char *name);

/* ---- table.c ------------------------------------------------------------------------------------------- */

#define CLI_COLS_MAX 16

struct cli_table {
    const char *title[CLI_COLS_MAX]; /* a leading '>' aligns to the right */
    int cols;
    char **cells; /* rows * cols */
    enum cli_colour *colours;
    size_t rows, cap;
};
void cli_table_init(struct cli_table *t, const char *const *titles, int cols);
/* The text is escaped. Row by row, column by column. */
void cli_table_row(struct cli_table *t);
void cli_table_set(struct cli_table *t, int col, enum cli_colour colour, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* A member of `row` in plain text. An empty one stays open (it shows as "-") with cli_table_opt. */
void cli_table_str(struct cli_table *t, int col, const json_t *row, const char *name);
void cli_table_opt(struct cli_table *t, int col, const json_t *row, const char *name);
void cli_table_int(struct cli_table *t, int col, const json_t *row, const char *name);
void cli_table_print(const struct cli *c, const struct cli_table *t);
void cli_table_fini(struct cli_table *t);
/* Both. */
void cli_table_end(const struct cli *c, struct cli_table *t);

/* ---- secret.c ------------------------------------------------------------------------------------------ */

#define CLI_SECRET_MAX 512
/* From --password-file, --password-stdin, or twice from the terminal without echo. 0 or an exit code. */
int cli_secret(struct cli *c, char out[CLI_SECRET_MAX + 1]);
/* 0 with --yes, or when whoever sits at the terminal says so; else an exit code. */
int cli_confirm(struct cli *c, const char *question);

/* ---- cmd_sender.c: what commands about the cluster share ------------------------------------------------
 */

/* NAME, @TENANT or --tenant: puts "account" or "tenant". 0 or an exit code. */
int cli_sender(struct cli *c, const char *arg, json_t *body);
/* Puts a value that is given (not NULL). 0 or an exit code. */
int cli_put_text(struct cli *c, json_t *body, const char *name, const char *value);
int cli_put_number(struct cli *c, json_t *body, const char *name, const char *value);
/* POSTs, and when it went well prints the line, or the answer under --json. Takes the body. */
int cli_post(struct cli *c, const char *target, json_t *body, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* cli_post of {"name": the first argument, "note": --note}. */
int cli_post_named(struct cli *c, const char *target, const char *said);
struct client_query;
/* All pages of a list. `none` is said when it is empty; NULL: then it is put all the same. */
int cli_list(struct cli *c, const struct client_query *q, const char *key, const char *none,
             void (*put)(struct cli *c, const json_t *rows));
/* cli_list of a target without parameters of its own. */
int cli_list_all(struct cli *c, const char *target, const char *key, const char *none,
                 void (*put)(struct cli *c, const json_t *rows));
/* Of an answer that is a page: how to get the rest. */
void cli_say_more(const struct cli *c, const json_t *j);
/* Of an answer for all nodes: who did not answer. */
void cli_say_missing(const json_t *j);
/* A site's place in a warm-up plan, or nothing. */
void cli_put_warmup(struct cli_table *t, int col, const json_t *w);

/* ---- cmd_local.c --------------------------------------------------------------------------------------- */

/* Runs turnpiked with these arguments, NULL at the end; its output is ours. 0 or an exit code. */
int cli_run_daemon(struct cli *c, const char *const *args);
/* The same for one that prints JSON by itself: nothing is added to it. */
int cli_run_daemon_quietly(struct cli *c, const char *const *args);

/* ---- commands ------------------------------------------------------------------------------------------ */

int cmd_config_check_node(struct cli *c); /* without FILE */
int cmd_status(struct cli *c), cmd_top(struct cli *c), cmd_site_list(struct cli *c),
    cmd_site_show(struct cli *c), cmd_site_backoff(struct cli *c), cmd_site_resume(struct cli *c),
    cmd_domain_check(struct cli *c), cmd_domain_prove(struct cli *c), cmd_domain_list(struct cli *c),
    cmd_domain_forget(struct cli *c), cmd_ip_check(struct cli *c), cmd_reload(struct cli *c), cmd_config_show(struct cli *c),
    cmd_config_check(struct cli *c), cmd_log(struct cli *c), cmd_spool_verify(struct cli *c),
    cmd_version(struct cli *c), cmd_completion(struct cli *c), cmd_help(struct cli *c);
int cmd_dkim_generate(struct cli *c), cmd_dkim_dns(struct cli *c), cmd_dkim_check(struct cli *c);
int cmd_queue_list(struct cli *c), cmd_queue_show(struct cli *c), cmd_queue_cat(struct cli *c),
    cmd_queue_summary(struct cli *c), cmd_queue_retry(struct cli *c), cmd_queue_hold(struct cli *c),
    cmd_held_list(struct cli *c), cmd_held_show(struct cli *c), cmd_held_release(struct cli *c), cmd_held_delete(struct cli *c),
    cmd_held_bounce(struct cli *c),
    cmd_queue_release(struct cli *c), cmd_queue_bounce(struct cli *c), cmd_queue_delete(struct cli *c),
    cmd_queue_move(struct cli *c), cmd_track(struct cli *c), cmd_privacy_export(struct cli *c);
int cmd_transfer_list(struct cli *c), cmd_transfer_cancel(struct cli *c), cmd_transfer_take(struct cli *c), cmd_transfer_forget(struct cli *c),
    cmd_spool_adopt(struct cli *c);
int cmd_events(struct cli *c), cmd_trace_client(struct cli *c), cmd_trace_server(struct cli *c), cmd_probe(struct cli *c);
int cmd_account_add(struct cli *c), cmd_account_passwd(struct cli *c), cmd_account_list(struct cli *c),
    cmd_account_remove(struct cli *c), cmd_account_import(struct cli *c), cmd_account_set(struct cli *c),
    cmd_account_show(struct cli *c);
int cmd_freeze(struct cli *c), cmd_thaw(struct cli *c), cmd_frozen(struct cli *c),
    cmd_tenant_list(struct cli *c), cmd_tenant_set(struct cli *c), cmd_tenant_contact(struct cli *c), cmd_tenant_remove(struct cli *c),
    cmd_tenant_token(struct cli *c), cmd_tenant_tokens(struct cli *c), cmd_tenant_revoke(struct cli *c), cmd_tenant_report(struct cli *c), cmd_auth_blocked(struct cli *c), cmd_auth_unblock(struct cli *c), cmd_privacy_erase(struct cli *c), cmd_privacy_erasures(struct cli *c),
    cmd_dkim_import(struct cli *c), cmd_dkim_list(struct cli *c), cmd_dkim_retire(struct cli *c),
    cmd_dkim_remove(struct cli *c), cmd_dkim_rekey(struct cli *c),
    cmd_notify_status(struct cli *c), cmd_notify_test(struct cli *c),
    cmd_secret_list(struct cli *c), cmd_secret_new(struct cli *c), cmd_secret_import(struct cli *c),
    cmd_operator_list(struct cli *c), cmd_operator_add(struct cli *c), cmd_operator_role(struct cli *c),
    cmd_operator_passwd(struct cli *c), cmd_operator_remove(struct cli *c), cmd_operator_logout(struct cli *c),
    cmd_secret_remove(struct cli *c), cmd_suppression_list(struct cli *c), cmd_suppression_add(struct cli *c),
    cmd_suppression_remove(struct cli *c), cmd_sender_show(struct cli *c), cmd_sender_bounces(struct cli *c), cmd_sender_pin(struct cli *c), cmd_sender_lift(struct cli *c), cmd_sender_web(struct cli *c), cmd_sender_forget(struct cli *c), cmd_sender_top(struct cli *c),
    cmd_limit_show(struct cli *c), cmd_limit_set(struct cli *c), cmd_limit_clear(struct cli *c);
int cmd_cluster_init(struct cli *c), cmd_cluster_status(struct cli *c), cmd_node_token(struct cli *c),
    cmd_node_join(struct cli *c), cmd_node_list(struct cli *c), cmd_node_drain(struct cli *c),
    cmd_node_leave(struct cli *c), cmd_node_remove(struct cli *c), cmd_node_promote(struct cli *c),
    cmd_node_demote(struct cli *c), cmd_node_address(struct cli *c);
int cmd_cluster_backup(struct cli *c), cmd_cluster_restore(struct cli *c), cmd_cluster_recover(struct cli *c),
    cmd_cluster_raise(struct cli *c), cmd_limit_reopen(struct cli *c);
int cmd_pool_list(struct cli *c), cmd_pool_add(struct cli *c), cmd_pool_remove(struct cli *c),
    cmd_pool_assign(struct cli *c), cmd_pool_float(struct cli *c), cmd_pool_unassign(struct cli *c),
    cmd_ip_list(struct cli *c), cmd_ip_add(struct cli *c), cmd_ip_set(struct cli *c), cmd_ip_move(struct cli *c),
    cmd_ip_warm(struct cli *c), cmd_ip_show(struct cli *c),
    cmd_ip_remove(struct cli *c);
int cmd_policy_show(struct cli *c), cmd_policy_apply(struct cli *c), cmd_policy_diff(struct cli *c),
    cmd_policy_history(struct cli *c), cmd_policy_rollback(struct cli *c), cmd_policy_check(struct cli *c),
    cmd_policy_test_reply(struct cli *c), cmd_policy_test_reply_file(struct cli *c),
    cmd_audit(struct cli *c);

#endif
