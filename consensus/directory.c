/* The directory's front: its memory, and which command is whose. What commands do is in directory_*.c. */
#include "base/ensure.h"
#include "consensus/directory_impl.h"

#include <stdlib.h>

const struct store_type *const directory_types[] = {
    &directory_account_type,  &directory_tenant_type,  &directory_override_type, &directory_policy_type,
    &directory_sealing_type,  &directory_sealed_type,   &directory_proof_type,
    &directory_upload_type,   &directory_chunk_type,   &directory_pool_type,     &directory_assignment_type,
    &directory_ip_type,       &directory_cluster_type, &directory_member_type,   &directory_token_type,
    &directory_transfer_type, &directory_audit_type,  &directory_suppressed_type,
    &directory_floating_type, &directory_lodging_type,
    &directory_warming_type,  &directory_warming_site_type,
    &directory_record_type,   &directory_reporter_type, &directory_standing_type,
    &directory_sender_type,   &directory_measure_type,
    &directory_contact_type,  &directory_notice_type, &directory_access_type, &directory_erasure_type,
    &directory_operator_type, &directory_login_type,
    &directory_alert_type,    &directory_alert_target_type, &directory_web_type,
};
const uint32_t directory_ntypes = sizeof directory_types / sizeof directory_types[0];

static const struct {
    size_t offset;
    const struct store_type *type;
} indexes[] = {
    { offsetof(struct directory, accounts), &directory_account_type },
    { offsetof(struct directory, tenants), &directory_tenant_type },
    { offsetof(struct directory, overrides), &directory_override_type },
    { offsetof(struct directory, chunks), &directory_chunk_type },
    { offsetof(struct directory, pools), &directory_pool_type },
    { offsetof(struct directory, assignments), &directory_assignment_type },
    { offsetof(struct directory, ips), &directory_ip_type },
    { offsetof(struct directory, members), &directory_member_type },
    { offsetof(struct directory, tokens), &directory_token_type },
    { offsetof(struct directory, transfers), &directory_transfer_type },
    { offsetof(struct directory, sealed), &directory_sealed_type },
    { offsetof(struct directory, proofs), &directory_proof_type },
    { offsetof(struct directory, suppressed), &directory_suppressed_type },
    { offsetof(struct directory, warming), &directory_warming_type },
    { offsetof(struct directory, warming_sites), &directory_warming_site_type },
    { offsetof(struct directory, records), &directory_record_type },
    { offsetof(struct directory, standings), &directory_standing_type },
    { offsetof(struct directory, notices), &directory_notice_type },
    { offsetof(struct directory, accesses), &directory_access_type },
    { offsetof(struct directory, erasures), &directory_erasure_type },
    { offsetof(struct directory, operators), &directory_operator_type },
    { offsetof(struct directory, logins), &directory_login_type },
    { offsetof(struct directory, measures), &directory_measure_type },
    { offsetof(struct directory, webs), &directory_web_type },
};
#define NINDEXES (sizeof indexes / sizeof indexes[0])

static struct directory_index *index_at(struct directory *d, size_t i)
{
    return (struct directory_index *)((char *)d + indexes[i].offset);
}

struct directory *directory_new(struct machine *m)
{
    struct directory *d = calloc(1, sizeof *d);
    if (d == NULL)
        return NULL;
    for (size_t i = 0; i < NINDEXES; i++)
        directory_index_init(index_at(d, i), indexes[i].type);
    directory_suppressed_init(d);
    directory_records_init(d);
    heap_init(&d->measure_ends);
    heap_init(&d->web_ends);
    policy_default(&d->builtin);
    /* Until a policy says otherwise these are the machine's own. */
    if (m->config.session_ttl_ms != 0)
        d->builtin.session_ttl_ms = m->config.session_ttl_ms;
    if (m->config.session_margin_ms != 0)
        d->builtin.session_margin_ms = m->config.session_margin_ms;
    return d;
}

void directory_free(struct directory *d)
{
    for (size_t i = 0; i < NINDEXES; i++)
        directory_index_fini(index_at(d, i));
    directory_suppressed_fini(d);
    directory_records_fini(d);
    heap_fini(&d->measure_ends);
    heap_fini(&d->web_ends);
    free(d);
}

int directory_restored(struct machine *m)
{
    struct directory *d = m->directory;
    for (size_t i = 0; i < NINDEXES; i++) {
        struct directory_index *ix = index_at(d, i);
        directory_index_fini(ix);
        LIST_EACH(link, store_all(m->store, indexes[i].type))
        {
            int err = directory_index_add(ix, LIST_ITEM(link, struct store_rec, link));
            if (err != 0)
                return err;
        }
    }
    d->cluster =
        (struct directory_cluster_rec *)store_find(m->store, &directory_cluster_type, SPAN_LIT("cluster"));
    d->account_bytes = 0;
    LIST_EACH(link, store_all(m->store, &directory_account_type))
    d->account_bytes += directory_account_bytes(LIST_ITEM(link, struct store_rec, link));
    directory_policy_restored(m);
    directory_sealed_restored(m);
    directory_audit_restored(m);
    directory_floating_restored(m);
    int err = directory_suppressed_restored(m);
    if (err == 0)
        err = directory_warmup_restored(m);
    if (err == 0)
        err = directory_measures_restored(m);
    if (err == 0)
        err = directory_webs_restored(m);
    return err != 0 ? err : directory_records_restored(m);
}

static directory_command_fn *const commands[] = {
    [COMMAND_ACCOUNT_SET] = directory_account_set,
    [COMMAND_ACCOUNT_REMOVE] = directory_account_remove,
    [COMMAND_TENANT_SET] = directory_tenant_set,
    [COMMAND_TENANT_REMOVE] = directory_tenant_remove,
    [COMMAND_OVERRIDE_SET] = directory_override_set,
    [COMMAND_POLICY_CHUNK] = directory_policy_chunk,
    [COMMAND_POLICY_COMMIT] = directory_policy_commit,
    [COMMAND_POOL_SET] = directory_pool_set,
    [COMMAND_POOL_REMOVE] = directory_pool_remove,
    [COMMAND_POOL_ASSIGN] = directory_pool_assign,
    [COMMAND_IP_SET] = directory_ip_set,
    [COMMAND_IP_MOVE] = directory_ip_move,
    [COMMAND_IP_RELEASED] = directory_ip_released,
    [COMMAND_IP_REMOVE] = directory_ip_remove,
    [COMMAND_CLUSTER_INIT] = directory_cluster_init,
    [COMMAND_TOKEN_ADD] = directory_token_add,
    [COMMAND_MEMBER_JOIN] = directory_member_join,
    [COMMAND_MEMBER_SET] = directory_member_set,
    [COMMAND_MEMBER_REPORT] = directory_member_report,
    [COMMAND_CERT_ISSUED] = directory_cert_issued,
    [COMMAND_FEATURE_RAISE] = directory_feature_raise,
    [COMMAND_TOKEN_REMOVE] = directory_token_remove,
    [COMMAND_TRANSFER_OWN] = directory_transfer_own,
    [COMMAND_TRANSFER_END] = directory_transfer_end,
    [COMMAND_TRANSFER_CANCEL] = directory_transfer_cancel,
    [COMMAND_SEALING_KEY] = directory_sealing_key,
    [COMMAND_SEALED_SET] = directory_sealed_set,
    [COMMAND_SEALED_REMOVE] = directory_sealed_remove,
    [COMMAND_DOMAIN_ASK] = directory_domain_ask,
    [COMMAND_DOMAIN_RESULT] = directory_domain_result,
    [COMMAND_DOMAIN_FORGET] = directory_domain_forget,
    [COMMAND_SUPPRESS_ADD] = directory_suppress_add,
    [COMMAND_SUPPRESS_REMOVE] = directory_suppress_remove,
    [COMMAND_POOL_FLOATING] = directory_pool_floating,
    [COMMAND_IP_MOVE_DEAD] = directory_ip_move,
    [COMMAND_IP_FLOAT] = directory_ip_float,
    [COMMAND_IP_HOOK] = directory_ip_hook,
    [COMMAND_WARMUP_START] = directory_warmup_start,
    [COMMAND_WARMUP_STOP] = directory_warmup_stop,
    [COMMAND_WARMUP_STEP] = directory_warmup_step,
    [COMMAND_WARMUP_RESERVE] = directory_warmup_reserve,
    [COMMAND_WARMUP_REPORT] = directory_warmup_report,
    [COMMAND_RECORD_REPORT] = directory_record_report,
    [COMMAND_RECORD_FORGET] = directory_record_forget,
    [COMMAND_STANDING_SET] = directory_standing_set,
    [COMMAND_STANDING_FORGET] = directory_standing_forget,
    [COMMAND_SENDER_LOOK] = directory_sender_look,
    [COMMAND_TENANT_CONTACT] = directory_tenant_contact,
    [COMMAND_NOTICE_CLAIM] = directory_notice_claim,
    [COMMAND_TENANT_TOKEN_ADD] = directory_access_add,
    [COMMAND_TENANT_TOKEN_REMOVE] = directory_access_remove,
    [COMMAND_ERASE_ADD] = directory_erase_add,
    [COMMAND_ERASE_DONE] = directory_erase_done,
    [COMMAND_HELD_EXEMPT] = directory_held_exempt,
    [COMMAND_OPERATOR_SET] = directory_operator_set,
    [COMMAND_OPERATOR_REMOVE] = directory_operator_remove,
    [COMMAND_LOGIN_SET] = directory_login_set,
    [COMMAND_LOGIN_END] = directory_login_end,
    [COMMAND_SENDER_LIFT] = directory_sender_lift,
    [COMMAND_SENDER_NOTICE] = directory_notice_claim,
    [COMMAND_ALERT_DONE] = directory_alert_done_apply,
    [COMMAND_WEB_CLAIM] = directory_web_claim,
    [COMMAND_WEB_FORGET] = directory_web_forget,
};

int directory_apply(struct machine *m, const struct machine_at *at, const struct command *cmd,
                    struct machine_result *r)
{
    ensure(cmd->type < sizeof commands / sizeof commands[0]);
    ensure(commands[cmd->type] != NULL);
    return commands[cmd->type](m, at, cmd, r);
}

int directory_due(struct machine *m, uint64_t now_ms, struct buf *out, uint32_t *n)
{
    int err = directory_uploads_due(m, now_ms, out, n);
    if (err == 0)
        err = directory_tokens_due(m, now_ms, out, n);
    if (err == 0)
        err = directory_floating_due(m, now_ms, out, n);
    if (err == 0)
        err = directory_suppressed_due(m, now_ms, out, n);
    if (err == 0)
        err = directory_measures_due(m, now_ms, out, n);
    return err != 0 ? err : directory_records_due(m, now_ms, out, n);
}

void directory_totals(const struct machine *m, struct machine_totals *out)
{
    enum { SMALL = 400, SENDER = 1600, MEASURE = 1000 }; /* about what any other record takes */
    const struct directory *d = m->directory;
    out->accounts = d->accounts.len;
    out->tenants = d->tenants.len;
    out->pools = d->pools.len;
    out->addresses = d->ips.len;
    out->transfers = d->transfers.len;
    out->sealed = d->sealed.len;
    out->suppressed = d->suppressed.len;
    out->records = d->records.len;
    out->audit = store_len(m->store, &directory_audit_type);
    LIST_EACH(link, store_all(m->store, &directory_member_type))
    out->members +=
        directory_member_is_present(LIST_ITEM(link, struct directory_member_rec, rec.link)) ? 1 : 0;
    out->bytes += SENDER * store_len(m->store, &directory_sender_type);
    out->bytes += d->sealed_bytes + d->account_bytes + d->policy_bytes + d->audit_bytes + d->suppressed_bytes + d->record_bytes +
                  SMALL * (d->tenants.len + d->overrides.len + d->pools.len + d->assignments.len +
                           d->ips.len + d->members.len + d->tokens.len + d->transfers.len +
                           d->warming.len + d->warming_sites.len + d->standings.len + d->proofs.len +
                           d->notices.len + d->accesses.len + 10 * d->erasures.len + d->operators.len + d->logins.len + d->webs.len) +
                  MEASURE * d->measures.len +
                  SMALL * store_len(m->store, &directory_alert_type);
}
