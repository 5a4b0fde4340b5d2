/* What the handlers of a cluster's member share: the replicated state to read, commands to submit, names to
 * check. Admin threads.
 */
#ifndef NODE_ADMIN_MEMBER_H
#define NODE_ADMIN_MEMBER_H

#include "node/admin/call.h"

#include <jansson.h>
#include <netinet/in.h>

/* Is this node in a cluster? */
bool member_is(const struct admin_call *c);
/* The replicated state; an error that says what to do when this node is in no cluster. */
int member_machine(struct admin_call *c, struct machine **out);
/* As member_machine, after all that was acknowledged before, on any node, is in it. */
int member_fresh(struct admin_call *c, struct machine **out);

/* Proposes and waits. `out` may be NULL. */
int member_submit(struct admin_call *c, struct command *cmd, struct machine_result *out);
/* member_submit, then {"ok":true}. */
int member_do(struct admin_call *c, struct command *cmd);

/* The argument as a name: at most COMMAND_NAME_MAX bytes; an absent one is empty. */
int member_name(struct admin_call *c, const char *arg, struct span *out);
/* As member_name, of an account: canonical, in `text`. */
int member_account(struct admin_call *c, const char *arg, char text[COMMAND_NAME_MAX + 1], struct span *out);
/* Of the arguments "account" and "tenant" the one that is given. */
int member_sender(struct admin_call *c, uint8_t *scope, char text[COMMAND_NAME_MAX + 1], struct span *out);
/* The member that the argument names, by name or id. */
int member_node(struct admin_call *c, const char *arg, uint64_t *id);
/* The name of a node for people, or its id; reads the state: with machine_read_lock held. */
void member_put_node(struct json_out *j, const char *key, const struct machine *m, uint64_t id);
/* A source address's members; likewise. on_pools.c */
void member_put_ip(struct json_out *j, const struct machine *m, const struct directory_ip *ip);

const char *member_class_name(uint8_t class);
int member_class(struct admin_call *c, const char *arg, uint8_t otherwise, uint8_t *out);
const char *member_scope_name(uint8_t scope);

/* Bytes of somebody else's, as a string of JSON; null for none. */
json_t *member_text(struct span s);
/* A site's place in a warm-up plan. */
json_t *member_warming(const struct directory_warming_site *s);
/* Does this key, "newsletters/google" or "*", say anything about the site "google"? */
bool member_about_site(struct span key, const char *site);

/* ---- pages of what the state lists --------------------------------------------------------------------- */

/* The parameter "address" as inet_ntop writes it, so that one address has one name: `out` is in `text`. ERR_BAD */
int member_address(struct admin_call *c, char text[INET6_ADDRSTRLEN], struct span *out);

struct policy;
/* The policy in force; where there is no cluster, the built-in one. */
int member_policy(struct admin_call *c, struct policy **out);

/* The secret that its text has in the clear (bounces.key). ERR_NOT_FOUND: none. */
int member_policy_secret(struct admin_call *c, struct buf *secret);

/* Rows under an array; each row is put by the caller between member_row and json_out_close. */
struct member_page {
    struct json_out j;
    uint32_t n, limit;
    bool more; /* there was one row too many */
    char last[2 * COMMAND_NAME_MAX + 32];
};
void member_page_begin(struct member_page *p, struct admin_call *c, const char *key);
/* False: the page is full, and the caller ends its walk. Else the row is open. */
bool member_page_row(struct member_page *p, struct span place);
int member_page_end(struct member_page *p, struct admin_call *c);

/* Where a page of what belongs to tenants begins, as the directory's walks take it: behind the parameter "after", which
 * is "TENANT NAME", or else at the first of this tenant; NULL: of all. Its length; ERR_BAD */
#define MEMBER_PLACE_MAX (2 * COMMAND_NAME_MAX + 2)
int member_tenant_place(struct admin_call *c, const struct span *tenant, char place[MEMBER_PLACE_MAX]);

/* ---- accounts that are kept by the cluster: what on_account.c does there instead of the node's own file --
 */

int member_account_list(struct admin_call *c);
int member_account_show(struct admin_call *c, const char *name);
int member_account_add(struct admin_call *c, const struct admin_account *a, bool replace);
int member_account_passwd(struct admin_call *c, const char *name, const char *password);
int member_account_remove(struct admin_call *c, const char *name);
int member_account_set(struct admin_call *c, const struct admin_account_change *change);
int member_account_import(struct admin_call *c, const struct admin_account *a, uint32_t n, bool replace,
                          admin_import_fn *each, void *arg);

/* ---- questions to all nodes ---------------------------------------------------------------------------- */

/* Whether this question goes to all nodes, by its parameter "scope". `by_default`: when that is not given. */
int member_asks_all(struct admin_call *c, bool by_default, bool *all);
/* Each asks all nodes this call's own question and joins the answers; who did not answer is in "missing". */
int member_ask_rows(struct admin_call *c, const char *key, bool newest_first);
int member_ask_summary(struct admin_call *c);
int member_ask_top(struct admin_call *c);
int member_ask_events(struct admin_call *c);
int member_ask_status(struct admin_call *c);
/* The answers themselves: [{"node": name, "body": {...}}], and who is missing: [{"node": name, "reason": text}]. Both
 * are the caller's, also after an error. */
int member_ask(struct admin_call *c, json_t **answers, json_t **missing);
/* The same of a question of its own. */
int member_ask_path(struct admin_call *c, const char *path, json_t **answers, json_t **missing);
/* "name=value" of a question, with what must not stand there escaped. */
void member_put_query(struct buf *path, char separator, const char *name, struct span value);

/* ---- messages: on_queue.c ------------------------------------------------------------------------------ */

/* The selector that the arguments make. Its strings are borrowed from them; to be freed also after an error. */
int member_selector_init(struct admin_selector *sel, struct admin_call *c);
void member_selector_fini(struct admin_selector *sel);
/* "ID.RCPT", as `next` gave it; `id` is the page's from then on. */
int member_page_place(struct admin_page *page, struct admin_call *c, char id[ADMIN_ID_TEXT]);
void member_put_message(struct json_out *j, const struct admin_row *row);
/* Answers with `j`, which is gone then, and who is missing; NULL: nobody was asked. */
int member_reply(struct admin_call *c, json_t *j, json_t *missing);

#endif
