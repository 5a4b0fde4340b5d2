/* Inside the directory: what its files share. Each file has the records of its own kind, with their commands
 * and readers. All under the machine's lock.
 *
 * A command's function returns 0, or -ENOMEM, which ends the apply; a refusal is in its result, with REFUSE,
 * before anything was changed.
 */
#ifndef CONSENSUS_DIRECTORY_IMPL_H
#define CONSENSUS_DIRECTORY_IMPL_H

#include "base/err.h"
#include "base/heap.h"
#include "base/map.h"
#include "consensus/directory.h"
#include "consensus/directory_index.h"
#include "consensus/machine_impl.h"

/* At most so many; over it a command is refused with ERR_LIMIT. Accounts: machine_config. */
#define DIRECTORY_TENANTS_MAX 200000
#define DIRECTORY_OVERRIDES_MAX 200000
#define DIRECTORY_POOLS_MAX 1000
#define DIRECTORY_ASSIGNMENTS_MAX 200000
#define DIRECTORY_ADDRESSES_MAX 4096
#define DIRECTORY_MEMBERS_MAX 512 /* with removed ones, of which the oldest are forgotten */
#define DIRECTORY_TOKENS_MAX 256
#define DIRECTORY_TRANSFERS_MAX 65536
#define DIRECTORY_SEALED_MAX 10000
#define DIRECTORY_SEALED_BYTES (32u << 20)
#define DIRECTORY_PROOFS_MAX 100000
#define DIRECTORY_SUPPRESSED_MAX 1000000
#define DIRECTORY_WARMING_SITES_MAX 100000 /* over it a new site shares its address's last record */
#define DIRECTORY_RECORDS_MAX 250000
#define DIRECTORY_STANDINGS_MAX 250000
#define DIRECTORY_NOTICES_MAX 100000
#define DIRECTORY_ACCESSES_MAX 10000
#define DIRECTORY_ERASURES_MAX 1000
#define DIRECTORY_OPERATORS_MAX 1000
#define DIRECTORY_LOGINS_MAX 1024
#define DIRECTORY_LOGINS_EACH 16 /* of one operator */
#define DIRECTORY_MEASURES_MAX 50000
#define DIRECTORY_WEBS_MAX 100000
#define DIRECTORY_UPLOADS_MAX 8
#define DIRECTORY_UPLOAD_BYTES (5u << 20)
#define DIRECTORY_UPLOAD_STALE_MS 300000 /* since its last chunk */
#define DIRECTORY_TOKEN_LIFE_MAX_MS (30ull * 86400000)
#define DIRECTORY_TOKEN_KEPT_MS 86400000 /* after it ended, so that a repeat is still answered */
#define DIRECTORY_DUE_MAX 16             /* commands of one directory_due */

/* Records of one type that are listed in order. */
struct directory {
    struct directory_index accounts, tenants, overrides, chunks, pools, assignments, ips, members, tokens, sealed,
        transfers, suppressed, warming, warming_sites, records, standings, proofs, notices, accesses, erasures, operators,
        logins, measures, webs;
    uint64_t sealed_bytes; /* memory, about */
    struct map suppressed_tenants; /* how many each tenant has */
    struct heap suppressed_ends;
    uint64_t suppressed_bytes; /* memory, about */
    struct heap record_ends;
    uint64_t record_bytes; /* memory, about */
    struct heap measure_ends, web_ends;
    uint64_t unsure;           /* addresses whose node has not said that it knows that they float */
    struct policy_compiled builtin;
    struct directory_cluster_rec *cluster;             /* NULL: not founded */
    struct directory_policy_rec *policy;               /* in force; NULL: the built-in one */
    uint64_t account_bytes, policy_bytes, audit_bytes; /* memory, about */
};

typedef int directory_command_fn(struct machine *m, const struct machine_at *at, const struct command *cmd,
                                 struct machine_result *r);

#define REFUSE(...) (machine_refuse(__VA_ARGS__), 0)
#define S(span) (int)(span).n, (span).p /* for "%.*s" */

extern const struct store_type directory_account_type, directory_tenant_type, directory_override_type,
    directory_sealing_type, directory_sealed_type, directory_policy_type, directory_upload_type, directory_chunk_type, directory_pool_type,
    directory_assignment_type, directory_ip_type, directory_cluster_type, directory_member_type,
    directory_token_type, directory_transfer_type, directory_audit_type, directory_suppressed_type,
    directory_warming_type, directory_warming_site_type, directory_record_type, directory_reporter_type,
    directory_floating_type, directory_lodging_type, directory_standing_type, directory_proof_type, directory_sender_type,
    directory_contact_type, directory_notice_type, directory_access_type, directory_erasure_type,
    directory_operator_type, directory_login_type, directory_measure_type,
    directory_alert_type, directory_alert_target_type, directory_web_type;

/* ---- records (directory_rec.c) ------------------------------------------------------------------------- */

/* Into store and index, and out of both (which frees it). add takes rec on success. */
int directory_add(struct machine *m, struct directory_index *ix, struct store_rec *rec);
void directory_drop(struct machine *m, struct directory_index *ix, struct store_rec *rec);

/* Texts of a record: each a copy on the heap, empty ones none. -ENOMEM */
int directory_text_set(struct span *text, struct span value);
void directory_text_free(struct span *text);
/* All, up to a NULL. ERR_TORN, ERR_CORRUPT (longer than any command's text), -ENOMEM. */
int directory_texts_decode(struct cursor *c, struct span *const texts[]);
int directory_texts_copy(struct span *const texts[], const struct span values[]);
void directory_texts_free(struct span *const texts[]);
#define TEXTS(...) ((struct span *const[]){ __VA_ARGS__, NULL })

/* UTF-8, no control characters, no blanks, not empty. */
bool directory_name_ok(struct span name);
/* Also none of : " , \ and no upper case: as node/auth takes an account's name. */
bool directory_account_name_ok(struct span name);
/* The same, or a web sender's, once the feature level has them. */
bool directory_sender_name_ok(const struct machine *m, struct span name);
/* No control characters. */
bool directory_text_ok(struct span text);

/* The operator saw another version. */
static inline bool directory_stale(const struct command_by *by, uint64_t version)
{
    return by->version != 0 && by->version != version;
}

/* Its contact goes with a tenant (directory_notice.c). */
void directory_contact_drop(struct machine *m, struct span tenant);
/* In each line that has this address (lower case) there is another name instead (directory_audit.c). 0 or -ENOMEM */
int directory_audit_replace(struct machine *m, struct span address, struct span with);
/* A member is gone: nobody waits for it (directory_erase.c). */
void directory_erasures_settle(struct machine *m);
/* And its tokens (directory_access.c). */
void directory_accesses_drop(struct machine *m, struct span tenant);

/* People are to hear of it: from feature level 6 on; before, nothing. Of `a` its number and place count not. */
int directory_alert(struct machine *m, const struct machine_at *at, const struct directory_alert *a);
/* Likewise of what a rule has done to a sender. */
int directory_alert_sender(struct machine *m, const struct machine_at *at, struct span account,
                           const struct sender_rule *rule, bool stopped, const char *text, int64_t wall_ms);

/* Likewise, from feature level 7 on, of what an operator has done: he froze an account or a tenant (`text`: how), or
 * let it go. */
int directory_alert_operator(struct machine *m, const struct machine_at *at, const struct command_by *by,
                             uint8_t scope, struct span name, bool frozen, struct span text);

/* ---- between the files --------------------------------------------------------------------------------- */

struct directory_cluster_rec {
    struct store_rec rec;
    uint8_t id[16];
    uint32_t epoch;
    struct span ca_certificate, ca_key;
    uint32_t features;
    uint64_t last_member; /* ids are never used again */
    uint8_t last_slot;    /* nor slots, as long as there are others */
    uint64_t version;
};

struct directory_policy_rec {
    struct store_rec rec;
    uint64_t version;
    int64_t wall_ms;
    struct span who, note, text;
    struct policy_compiled compiled;
};

struct directory_member_rec {
    struct store_rec rec;
    uint64_t id;
    uint8_t slot, state, role;
    struct span name, raft_address, gossip_address, runs;
    uint32_t features;
    uint8_t certificates[2][32];
    int64_t not_after_ms[2];
    uint64_t session;
    uint64_t version;
};
struct directory_member_rec *directory_member_get(const struct machine *m, uint64_t id);
struct directory_member_rec *directory_member_get_named(const struct machine *m, struct span name);
static inline bool directory_member_is_present(const struct directory_member_rec *mb)
{
    return mb != NULL && mb->state != COMMAND_MEMBER_REMOVED;
}
/* A new member; `out` is the state's. Checked before: name and addresses. */
int directory_member_new(struct machine *m, const struct machine_at *at,
                         const struct command_member_join *join, struct directory_member_rec **out);
/* Whether a name and addresses may be a new member's: else the refusal is in r, and false. `self`: 0, or who
 * has them. */
bool directory_member_unique(const struct machine *m, uint64_t self, struct span name,
                             struct span raft_address, struct span gossip_address, struct machine_result *r);
void directory_member_remove(struct machine *m, const struct machine_at *at, struct directory_member_rec *mb);
/* "node-b (2)", or "node 2". */
#define DIRECTORY_MEMBER_TEXT 384
const char *directory_member_text(const struct machine *m, uint64_t id, char out[DIRECTORY_MEMBER_TEXT]);

/* The node whose session asks; 0: none. */
uint64_t directory_asker(const struct machine *m, const struct command *cmd);

/* A limit of the policy in force; NULL: there is none of that name. */
const struct policy_limit *directory_limit(const struct machine *m, struct span name);
/* With the sender go what was set for it. */
void directory_overrides_drop(struct machine *m, uint8_t scope, struct span name);
bool directory_assignment_drop(struct machine *m, uint8_t to, struct span name);
bool directory_pool_exists(const struct machine *m, struct span name);
/* Addresses of a pool; the first one's text in `address`. */
uint64_t directory_pool_addresses(const struct machine *m, struct span pool, struct span *address);

bool directory_ip_exists(const struct machine *m, struct span address);
/* It is this node's, and stays so: nobody asks for it. */
bool directory_ip_sends(const struct machine *m, struct span address, uint64_t node);
/* The address is removed, and its plan with it. */
void directory_warmup_gone(struct machine *m, const struct machine_at *at, struct span address);
/* ERR_CORRUPT: a site without its address. */
int directory_warmup_restored(struct machine *m);

/* The member is gone: nothing waits for it any more. */
void directory_ips_member_removed(struct machine *m, const struct machine_at *at, uint64_t node);
/* Its sessions changed: hands over what may be handed over. `ended`: one that is to be taken as ended, or 0.
 */
void directory_ips_settle(struct machine *m, const struct machine_at *at, uint64_t ended);

int directory_tokens_drop_all(struct machine *m);
int directory_uploads_due(struct machine *m, uint64_t now_ms, struct buf *out, uint32_t *n);
int directory_tokens_due(struct machine *m, uint64_t now_ms, struct buf *out, uint32_t *n);
void directory_suppressed_init(struct directory *d);
void directory_suppressed_fini(struct directory *d);
int directory_suppressed_restored(struct machine *m);
int directory_suppressed_due(struct machine *m, uint64_t now_ms, struct buf *out, uint32_t *n);
void directory_records_init(struct directory *d);
void directory_records_fini(struct directory *d);
int directory_records_restored(struct machine *m);
int directory_records_due(struct machine *m, uint64_t now_ms, struct buf *out, uint32_t *n);
/* Of one sender. *no_room: it is not counted. 0 or -ENOMEM. */
int directory_record_add(struct machine *m, const struct machine_at *at, const struct record_counts *in,
                         bool *no_room);
/* Of a node's process. ERR_EXISTS: this report was counted already. */
int directory_record_number(struct machine *m, uint64_t node, const uint8_t process[16], uint64_t number);
int directory_webs_restored(struct machine *m);
int directory_measures_restored(struct machine *m);
int directory_measures_due(struct machine *m, uint64_t now_ms, struct buf *out, uint32_t *n);
/* A rule that slows or re-pools is met. *begins: it was not in force, nor for the same mail a while ago. -ENOMEM */
int directory_measure(struct machine *m, const struct machine_at *at, struct span account,
                      const struct sender_rule *rule, const char *evidence, int64_t wall_ms, bool *begins);
#define DIRECTORY_MEASURE_WORDS 128
/* "to 20 in 10m", "to pool risky" */
void directory_measure_words(const struct sender_rule *rule, char out[DIRECTORY_MEASURE_WORDS]);
void directory_sender_drop(struct machine *m, struct span account);
void directory_reporter_drop(struct machine *m, uint64_t node);
void directory_sealed_restored(struct machine *m);
void directory_audit_restored(struct machine *m);
void directory_floating_restored(struct machine *m);
int directory_floating_due(struct machine *m, uint64_t now_ms, struct buf *out, uint32_t *n);
/* Of one that nothing was said about: never. */
struct directory_floating directory_floating(const struct machine *m, struct span pool);
/* The pool goes. */
void directory_floating_drop(struct machine *m, struct span pool);
/* A node's session began (0: it has none any more). */
void directory_floating_session(struct machine *m, const struct machine_at *at, uint64_t node, uint64_t session);
void directory_policy_restored(struct machine *m);
uint64_t directory_account_bytes(const struct store_rec *rec);

/* ---- the commands -------------------------------------------------------------------------------------- */

directory_command_fn directory_held_exempt;
directory_command_fn directory_tenant_contact, directory_notice_claim, directory_access_add, directory_erase_add, directory_erase_done,
    directory_access_remove;
directory_command_fn directory_operator_set, directory_operator_remove, directory_login_set, directory_login_end;
directory_command_fn directory_alert_done_apply, directory_web_claim, directory_web_forget;
directory_command_fn directory_sealing_key, directory_sealed_set, directory_sealed_remove, directory_account_set, directory_account_remove, directory_tenant_set,
    directory_tenant_remove, directory_override_set, directory_policy_chunk, directory_policy_commit,
    directory_pool_set, directory_pool_remove, directory_pool_assign, directory_ip_set, directory_ip_move,
    directory_ip_released, directory_ip_remove, directory_cluster_init, directory_token_add,
    directory_token_remove, directory_member_join, directory_member_set, directory_member_report,
    directory_cert_issued, directory_feature_raise, directory_transfer_own, directory_transfer_end,
    directory_transfer_cancel, directory_suppress_add, directory_suppress_remove,
    directory_warmup_start, directory_warmup_stop, directory_warmup_step, directory_warmup_reserve,
    directory_warmup_report, directory_record_report, directory_record_forget, directory_pool_floating,
    directory_ip_float, directory_ip_hook, directory_standing_set, directory_standing_forget,
    directory_sender_lift, directory_domain_ask, directory_domain_result, directory_domain_forget, directory_sender_look;

#endif
