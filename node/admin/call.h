/* One request on its way through a handler, and the table of routes. Admin threads. */
#ifndef NODE_ADMIN_CALL_H
#define NODE_ADMIN_CALL_H

#include "node/admin/cluster.h"
#include "node/admin/json_out.h"
#include "node/admin/login.h"
#include "node/admin/ops.h"
#include "node/admin/params.h"
#include "node/admin/roles.h"

#include <sys/types.h>

#define ADMIN_REPLY_MAX (8u << 20)  /* bytes of a reply that is built in memory */
#define ADMIN_PAGE_BYTES (4u << 20) /* a page of rows ends early at this size */
#define ADMIN_TRACE_MAX_S 3600
#define ADMIN_PROBE_MAX_MS INT64_C(300000)

/* A reply that is produced while it is sent. */
struct admin_source {
    /* Waits a while for something to send. Bytes put into p; 0: nothing yet, still well; -1: the end; -2:
     * broken off. */
    ssize_t (*read)(void *ctx, char *p, size_t max);
    void (*free)(void *ctx);
    void *ctx;
    int64_t limit_ms; /* it may last this long */
};

struct admin_call {
    const struct admin_ops *ops;
    const struct admin_caller *caller;
    json_t *args;
    const char *path;
    char id[ADMIN_ID_TEXT];         /* of the path */
    const struct admin_pair *query; /* of a GET, as it came */
    size_t nquery;
    const struct admin_cluster *cluster; /* NULL: none */
    void *cluster_ctx;
    struct span last_event_id; /* of the header; empty: none */
    bool inner;               /* another node asks: about this node only */
    bool (*gone)(void *conn); /* the client has gone, or the server stops */
    void *conn;

    /* The reply, for the handler to fill. */
    struct buf out;
    unsigned status;            /* 0: 200 */
    const char *type;           /* NULL: application/json */
    struct admin_source source; /* if read is set, instead of out */
    struct logins *logins;         /* NULL: another node asks */
    const struct login *login;     /* whose cookie came; NULL: none, or not asked for */
    bool (*token_ok)(void *conn, struct span token); /* is it the API's token? */
    struct series *series;
    const char *page; /* the dashboard's URL; NULL: there is none that may be told */
    char cookie[160];              /* Set-Cookie, or empty */
    struct admin_error e;
    const char *code; /* of the error; NULL: by its status */
};

/* 0, or a negative err with its text in c->e: then `out` is not used. */
typedef int admin_handler_fn(struct admin_call *c);

enum admin_route_flag {
    ADMIN_ROUTE_OPEN = 1,    /* needs no token */
    ADMIN_ROUTE_METRICS = 2, /* needs none if so configured */
    ADMIN_ROUTE_LARGE = 4,   /* takes a body of ADMIN_BODY_LARGE_MAX */
    ADMIN_ROUTE_ASKED = 8,   /* other nodes may ask it */
};

struct admin_route {
    const char *method;
    const char *path; /* may hold one {id} as a whole segment */
    admin_handler_fn *handler;
    const struct admin_param *params; /* of the query for GET, of the body for POST */
    unsigned flags;
    const char *summary;
};

extern const struct admin_route admin_routes[];
extern const size_t admin_nroutes;

/* The route, or NULL; then *others says which methods that path has ("GET, POST"), NULL if the path is
 * unknown. */
const struct admin_route *admin_route_find(const char *method, const char *path, char id[ADMIN_ID_TEXT],
                                           const char **others);

unsigned admin_status_of(int err);     /* HTTP status */
const char *admin_code_of(int status); /* "not_found", ... */
/* `code` NULL: by the status. */
void admin_error_json(struct buf *out, unsigned status, const char *code, const char *text);

/* docs/openapi.json as built in. */
extern const unsigned char admin_openapi[];
extern const size_t admin_openapi_len;

admin_handler_fn admin_on_healthz, admin_on_readyz, admin_on_metrics, admin_on_openapi, admin_on_status,
    admin_on_top, admin_on_sites, admin_on_site_holds, admin_on_site_show, admin_on_site_backoff, admin_on_site_resume, admin_on_ip_check, admin_on_config, admin_on_config_check, admin_on_reload,
    admin_on_log, admin_on_log_set;
admin_handler_fn admin_on_queue, admin_on_summary, admin_on_message, admin_on_content, admin_on_retry,
    admin_on_hold, admin_on_release, admin_on_bounce, admin_on_delete, admin_on_track;
admin_handler_fn admin_on_held, admin_on_held_status, admin_on_held_act, admin_on_held_release, admin_on_held_delete,
    admin_on_held_bounce, admin_on_held_show;
admin_handler_fn admin_on_queue_move, admin_on_transfers, admin_on_transfer_cancel, admin_on_transfer_take, admin_on_transfer_forget,
    admin_on_spool_adopt;
admin_handler_fn admin_on_events, admin_on_trace, admin_on_probe;
admin_handler_fn admin_on_follow, admin_on_notify, admin_on_notify_test;
admin_handler_fn admin_on_accounts, admin_on_account_add, admin_on_account_passwd, admin_on_account_remove,
    admin_on_account_import;

admin_handler_fn admin_on_login, admin_on_logout, admin_on_session, admin_on_session_keep, admin_on_series;
admin_handler_fn admin_on_operators, admin_on_operator_add, admin_on_operator_set, admin_on_operator_passwd,
    admin_on_operator_remove, admin_on_operator_logout;

/* Of clusters: on_cluster.c, on_freeze.c, on_tenants.c, on_pools.c, on_policy.c. */
admin_handler_fn admin_on_account_show, admin_on_account_set;
admin_handler_fn admin_on_cluster, admin_on_cluster_init, admin_on_node_join, admin_on_node_token,
    admin_on_node_drain, admin_on_node_leave, admin_on_node_role, admin_on_node_address, admin_on_node_remove, admin_on_audit;
admin_handler_fn admin_on_cluster_backup, admin_on_cluster_raise, admin_on_limit_reopen;
admin_handler_fn admin_on_freeze, admin_on_thaw, admin_on_frozen;
admin_handler_fn admin_on_tenants, admin_on_tenant_set, admin_on_tenant_contact, admin_on_tenant_remove, admin_on_limits,
    admin_on_tenant_tokens, admin_on_tenant_token_add, admin_on_tenant_token_remove, admin_on_tenant_report,
    admin_on_auth_blocked, admin_on_auth_unblock, admin_on_privacy_erase, admin_on_privacy_erasures,
    admin_on_limit_set, admin_on_limit_clear;
admin_handler_fn admin_on_dkim, admin_on_dkim_generate, admin_on_dkim_import, admin_on_dkim_set, admin_on_dkim_remove,
    admin_on_rekey;
admin_handler_fn admin_on_domain_check;
admin_handler_fn admin_on_ip_warm, admin_on_ip_warm_start, admin_on_ip_warm_stop, admin_on_ip_warm_step,
    admin_on_ip_show;
admin_handler_fn admin_on_domains, admin_on_domain_prove, admin_on_domain_forget;
admin_handler_fn admin_on_secret, admin_on_secret_add, admin_on_secret_remove;
admin_handler_fn admin_on_suppression, admin_on_suppression_add, admin_on_suppression_remove;
admin_handler_fn admin_on_sender_show, admin_on_sender_bounces, admin_on_sender_top, admin_on_sender_pin, admin_on_sender_lift;
admin_handler_fn admin_on_sender_web, admin_on_sender_forget;
admin_handler_fn admin_on_pools, admin_on_pool_add, admin_on_pool_remove, admin_on_pool_assign,
    admin_on_pool_unassign, admin_on_pool_float, admin_on_ips, admin_on_ip_add, admin_on_ip_set, admin_on_ip_move,
    admin_on_ip_remove;
admin_handler_fn admin_on_policy, admin_on_policy_history, admin_on_policy_diff, admin_on_policy_apply,
    admin_on_policy_rollback, admin_on_policy_test_reply;

extern const struct admin_param admin_login_params[], admin_series_params[], admin_operator_add_params[],
    admin_operator_set_params[], admin_operator_passwd_params[], admin_operator_params[];
extern const struct admin_param admin_account_params[]; /* of one entry of an import */

extern const struct admin_param admin_transfer_params[], admin_adopt_params[];
/* Parameters of the routes about clusters: routes_cluster.c. */
extern const struct admin_param admin_dkim_params[], admin_dkim_generate_params[], admin_dkim_import_params[],
    admin_dkim_set_params[], admin_dkim_remove_params[], admin_rekey_params[], admin_scope_params[], admin_page_params[], admin_name_params[],
    admin_account_set_params[], admin_account_show_params[], admin_cluster_init_params[],
    admin_cluster_raise_params[], admin_node_join_params[], admin_node_token_params[],
    admin_node_drain_params[], admin_node_role_params[], admin_node_address_params[], admin_node_params[], admin_freeze_params[],
    admin_thaw_params[], admin_noted_params[], admin_tenant_contact_params[], admin_tenant_token_params[], admin_tenant_report_params[], admin_privacy_erase_params[], admin_auth_unblock_params[], admin_sender_params[], admin_limit_set_params[],
    admin_limit_clear_params[], admin_pool_assign_params[], admin_pool_float_params[], admin_pool_unassign_params[],
    admin_ip_add_params[], admin_ip_set_params[], admin_ip_move_params[], admin_ip_params[], admin_ip_show_params[], admin_ip_warm_step_params[],
    admin_policy_params[], admin_policy_diff_params[], admin_policy_apply_params[],
    admin_policy_rollback_params[], admin_policy_test_reply_params[], admin_suppression_params[], admin_domain_check_params[],
    admin_domains_params[], admin_domain_prove_params[], admin_domain_forget_params[],
    admin_secret_add_params[], admin_secret_remove_params[],
    admin_suppression_add_params[], admin_suppression_remove_params[], admin_sender_bounces_params[],
    admin_sender_top_params[], admin_sender_pin_params[], admin_sender_lift_params[], admin_sender_forget_params[];

/* ERR for a function that the node does not have. */
int admin_missing(struct admin_call *c);
/* Somebody did something with his login: it goes on. */
void admin_login_used(struct admin_call *c, struct login *l, int64_t now_ms);
/* {"ok": true}: what an action answers that has nothing else to say. */
int admin_ok(struct admin_call *c);

#endif
