/* What the files of the policy share: the document as the tables read it, before it is compiled. */
#ifndef NODE_POLICY_POLICY_IMPL_H
#define NODE_POLICY_POLICY_IMPL_H

#include "node/config/schema.h"
#include "node/policy/policy.h"

#define POLICY_FILE_MAX (1u << 20) /* bytes of a document */
#define POLICY_IDENTITIES_MAX 10000

struct policy_doc_limit {
    char *name;
    int scope; /* 0 account, 1 tenant */
    int *classes;
    uint32_t nclasses; /* 0: all */
    uint64_t count;
    int64_t window_ms;
};
struct policy_doc_class {
    uint32_t max_rcpts;
    char *pool;
};
struct policy_doc {
    struct policy_doc_limit *limits;
    uint32_t nlimits;
    struct policy_doc_class classes[POLICY_CLASSES];
    int64_t ttl_ms, margin_ms;
    uint32_t voters;
    bool hold_when_cut_off;
    int freeze_mode; /* of policy_mode_names: enum command_freeze_mode less one */
    uint32_t failures_per_account, failures_per_network;
    int64_t guard_window_ms, guard_block_ms;
    struct {
        char *header;
        char **accounts;
        uint32_t naccounts;
    } late;
    char *hook;
};

extern const struct schema_map policy_map; /* of struct policy_doc */
extern const char *const policy_class_names[POLICY_CLASSES + 1];
extern const char *const policy_scope_names[3];
extern const char *const policy_mode_names[5];

/* Reads and checks; faults go to `errors`. On success the caller frees with schema_fini. */
int policy_document_read(const char *name, struct span text, struct policy_doc *out,
                         struct config_errors *errors);

/* What the tables cannot say: rules between keys. */
void policy_check(struct schema_load *l, const struct policy_doc *doc);
/* The document was checked. Takes late.accounts out of it. */
void policy_compile(struct policy_doc *doc, struct policy *out);

#endif
