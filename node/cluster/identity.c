/* A node's membership on disk: what the files mean. How they are written and read is in identity_files.c. */
#include "node/cluster/identity.h"

#include "base/err.h"
#include "node/cluster/ca_impl.h"
#include "node/cluster/fields.h"
#include "node/cluster/identity_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PEM_MAX (32u << 10)
#define MEMBER_MAX (64u << 10)
#define RETIRED_MAX 1000

void identity_init(struct identity *id)
{
    *id = (struct identity){ 0 };
    buf_init(&id->ca, PEM_MAX);
    buf_init(&id->certificate, PEM_MAX);
    buf_init(&id->key, PEM_MAX);
}

void identity_fini(struct identity *id)
{
    identity_wipe(&id->key);
    buf_fini(&id->ca);
    buf_fini(&id->certificate);
    buf_fini(&id->key);
    OPENSSL_cleanse(id, sizeof *id);
    identity_init(id);
}

/* ---- member.json --------------------------------------------------------------------------------------- */

static int put_member(const struct identity *id, struct buf *out)
{
    char cluster[33];
    field_put_hex(id->self.cluster, sizeof id->self.cluster, cluster);
    json_t *root =
        json_pack("{s:i, s:s, s:I, s:I, s:i, s:s, s:s, s:s, s:o}", "version", 1, "cluster", cluster, "epoch",
                  (json_int_t)id->self.epoch, "node", (json_int_t)id->self.node, "slot", (int)id->slot,
                  "name", id->name, "raft_address", id->raft_address, "gossip_address", id->gossip_address,
                  "seeds", field_make_seeds(id->seeds, id->nseeds));
    int err = field_put(root, JSON_INDENT(2), out);
    json_decref(root);
    return err == 0 ? buf_put_char(out, '\n') : err;
}

static int read_member(struct span text, struct identity *id)
{
    json_t *root = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES, NULL);
    uint64_t version = 0, epoch = 0, slot = 0;
    bool ok = field_u64(root, "version", 1, 1, &version) &&
              field_hex(root, "cluster", id->self.cluster, 16) &&
              field_u64(root, "epoch", 1, UINT32_MAX, &epoch) &&
              field_u64(root, "node", 1, FIELD_NUMBER_MAX, &id->self.node) &&
              field_u64(root, "slot", 0, UINT8_MAX, &slot) && field_name(root, "name", id->name) &&
              field_address(root, "raft_address", id->raft_address) &&
              field_address(root, "gossip_address", id->gossip_address) &&
              field_seeds(root, id->seeds, &id->nseeds);
    id->self.epoch = (uint32_t)epoch;
    id->slot = (uint8_t)slot;
    json_decref(root);
    return ok ? 0 : ERR_CORRUPT;
}

/* ---- loading ------------------------------------------------------------------------------------------- */

/* What is on disk belongs together: the certificate is this member's, the key is the certificate's, and the
 * CA signed it. It may have expired meanwhile: then the node asks for a new one. */
static int check(const char *dir, const struct identity *id, struct buf *why)
{
    struct ca_info info;
    if (ca_read(buf_span(&id->certificate), &info) != 0)
        return identity_say(why, ERR_CORRUPT, dir, "node.pem", "not a node's certificate");
    if (memcmp(info.peer.cluster, id->self.cluster, sizeof info.peer.cluster) != 0 ||
        info.peer.epoch != id->self.epoch || info.peer.node != id->self.node ||
        strcmp(info.name, id->name) != 0)
        return identity_say(why, ERR_CORRUPT, dir, "node.pem", "is not of the member that member.json names");
    if (ca_key_matches(buf_span(&id->certificate), buf_span(&id->key)) != 0)
        return identity_say(why, ERR_CORRUPT, dir, "node.key", "is not the key of node.pem");
    if (ca_verify(buf_span(&id->ca), buf_span(&id->certificate), info.not_before_ms) != 0)
        return identity_say(why, ERR_CORRUPT, dir, "node.pem", "was not signed by the authority in ca.pem");
    return 0;
}

static int load(int fd, const char *dir, struct identity *out, struct buf *why)
{
    struct buf text;
    buf_init(&text, MEMBER_MAX);
    int err = identity_read(fd, dir, "member.json", false, &text, why);
    if (err == 0 && read_member(buf_span(&text), out) != 0)
        err = identity_say(why, ERR_CORRUPT, dir, "member.json", "not what this program writes");
    buf_fini(&text);
    if (err != 0)
        return err;
    struct {
        const char *name;
        struct buf *into;
        bool secret;
    } files[] = { { "ca.pem", &out->ca, false },
                  { "node.pem", &out->certificate, false },
                  { "node.key", &out->key, true } };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        err = identity_read(fd, dir, files[i].name, files[i].secret, files[i].into, why);
        if (err == ERR_NOT_FOUND)
            return identity_say(why, ERR_CORRUPT, dir, files[i].name, "missing, though member.json is there");
        if (err != 0)
            return err;
    }
    struct buf secret;
    buf_init(&secret, CA_SECRET_BYTES + 1);
    err = identity_read(fd, dir, "secret", true, &secret, why);
    if (err == 0 && secret.len != CA_SECRET_BYTES)
        err = identity_say(why, ERR_CORRUPT, dir, "secret", "has the wrong length");
    if (err == 0) {
        out->has_secret = true;
        memcpy(out->secret, secret.data, CA_SECRET_BYTES);
    }
    identity_wipe(&secret);
    buf_fini(&secret);
    return err == ERR_NOT_FOUND ? 0 : err;
}

int identity_load(const char *dir, struct identity *out, struct buf *why)
{
    int fd = -1;
    int err = identity_open(dir, &fd, why);
    if (err != 0)
        return err;
    err = identity_finish(fd, dir, why);
    if (err == 0)
        err = load(fd, dir, out, why);
    close(fd);
    return err != 0 ? err : check(dir, out, why);
}

/* ---- saving -------------------------------------------------------------------------------------------- */

static int make_folder(const char *dir, struct buf *why)
{
    if (mkdir(dir, 0700) == 0)
        return identity_sync_parent(dir, why);
    return errno == EEXIST ? 0 : identity_say(why, -errno, dir, NULL, strerror(errno));
}

/* What identity_load would take. */
static bool fields_ok(const struct identity *id)
{
    if (id->self.node == 0 || id->self.node > FIELD_NUMBER_MAX || id->self.epoch == 0 ||
        id->nseeds > sizeof id->seeds / sizeof *id->seeds || !field_name_ok(span_str(id->name)) ||
        !field_address_ok(span_str(id->raft_address)) || !field_address_ok(span_str(id->gossip_address)))
        return false;
    return field_seeds_ok(id->seeds, id->nseeds);
}

int identity_save(const char *dir, const struct identity *id, struct buf *why)
{
    if (!fields_ok(id))
        return identity_say(why, ERR_BAD, dir, "member.json",
                            "node, epoch, name, addresses or seeds make no sense");
    int err = check(dir, id, why);
    if (err != 0)
        return ERR_BAD;
    struct buf member;
    buf_init(&member, MEMBER_MAX);
    int fd = -1;
    err = put_member(id, &member);
    if (err == 0)
        err = make_folder(dir, why);
    if (err == 0)
        err = identity_open(dir, &fd, why);
    if (err == 0)
        err = identity_finish(fd, dir, why);
    if (err == 0) {
        struct identity_file files[] = { { "ca.pem", buf_span(&id->ca) },
                                         { "node.pem", buf_span(&id->certificate) },
                                         { "node.key", buf_span(&id->key) },
                                         { "secret",
                                           span_of(id->secret, id->has_secret ? CA_SECRET_BYTES : 0) },
                                         { "member.json", buf_span(&member) } };
        err = identity_replace(fd, dir, files, sizeof files / sizeof *files, why);
    }
    if (fd >= 0)
        close(fd);
    buf_fini(&member);
    return err;
}

int identity_retire(const char *dir, struct buf *why)
{
    for (int n = 1; n <= RETIRED_MAX; n++) {
        char aside[4096];
        if ((size_t)snprintf(aside, sizeof aside, "%s.removed-%d", dir, n) >= sizeof aside)
            return identity_say(why, -ENAMETOOLONG, dir, NULL, strerror(ENAMETOOLONG));
        if (renameat2(AT_FDCWD, dir, AT_FDCWD, aside, RENAME_NOREPLACE) == 0)
            return identity_sync_parent(dir, why);
        if (errno == ENOENT)
            return identity_say(why, ERR_NOT_FOUND, dir, NULL, "this node is not a member");
        if (errno != EEXIST)
            return identity_say(why, -errno, dir, NULL, strerror(errno));
    }
    return identity_say(why, ERR_LIMIT, dir, NULL,
                        "too many folders beside it are named removed-N: delete old ones");
}
