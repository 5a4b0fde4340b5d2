/* Commands for when things go wrong with a cluster, and for upgrades: cluster backup, restore, recover,
 * raise; limit reopen. recover and restore work on a stopped node, by turnpiked. */
#include "cli/client.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define NODE_FILE "/etc/turnpike/node.yaml"

/* ---- backup -------------------------------------------------------------------------------------------- */

struct saving {
    int fd, err;
    uint64_t bytes;
};

static int save_piece(void *arg, const char *p, size_t n)
{
    struct saving *s = arg;
    while (n > 0) {
        ssize_t wrote = write(s->fd, p, n);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote < 0) {
            s->err = errno;
            return CLI_FAILED;
        }
        p += wrote;
        n -= (size_t)wrote;
        s->bytes += (uint64_t)wrote;
    }
    return 0;
}

/* Under its own name only once it is whole and on disk. */
static int save(struct cli *c, const char *file, const char *part)
{
    struct saving s = { .fd = open(part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600) };
    char size[32];
    if (s.fd < 0)
        return cli_fail(c, CLI_FAILED, "can't make %s: %s", part, strerror(errno));
    int code = client_stream(c, "/v1/cluster/backup", NULL, save_piece, &s);
    if (code == 0 && fsync(s.fd) != 0)
        s.err = errno;
    close(s.fd);
    if (code == 0 && s.err == 0 && link(part, file) != 0)
        s.err = errno;
    unlink(part);
    if (s.err != 0)
        return cli_fail(c, CLI_FAILED, "can't write %s: %s", file, strerror(s.err));
    if (code != 0)
        return code;
    cli_size(s.bytes, size, sizeof(size));
    if (c->json)
        printf("{\"ok\":true,\"bytes\":%" PRIu64 "}\n", s.bytes);
    else
        printf("a backup of the cluster's state, %s: it has password hashes, so keep it as safe as them\n",
               size);
    return CLI_OK;
}

int cmd_cluster_backup(struct cli *c)
{
    const char *file = c->args[0];
    char part[4096];
    if (snprintf(part, sizeof(part), "%s.part", file) >= (int)sizeof(part))
        return cli_fail(c, CLI_USAGE, "the file's name is too long");
    if (access(file, F_OK) == 0)
        return cli_fail(c, CLI_USAGE, "%s is there already: give another name", file);
    return save(c, file, part);
}

/* ---- a stopped node ------------------------------------------------------------------------------------ */

static const char *node_file(struct cli *c)
{
    const char *file = cli_opt(c, "config");
    return file != NULL ? file : NODE_FILE;
}

int cmd_cluster_recover(struct cli *c)
{
    const char *inspect[] = { "--config", node_file(c), "--inspect-cluster", NULL };
    const char *recover[] = { "--config", node_file(c), "--recover-cluster", NULL };
    int code = cli_run_daemon(c, inspect);
    if (code != 0 || cli_has(c, "inspect"))
        return code;
    cli_note(
        "What this node has becomes the cluster: what only the lost nodes had is gone, all other nodes are "
        "removed, and all limits count as full until their windows have passed. Of the nodes that are left "
        "take the one whose log ends at the highest term, then the highest index; the others join anew.");
    code = cli_confirm(c, "Are the other nodes lost for good, or stopped and to be emptied?");
    return code != 0 ? code : cli_run_daemon(c, recover);
}

int cmd_cluster_restore(struct cli *c)
{
    const char *restore[] = { "--config", node_file(c), "--restore-cluster", c->args[0], NULL };
    return cli_run_daemon(c, restore);
}

/* ---- afterwards ---------------------------------------------------------------------------------------- */

int cmd_limit_reopen(struct cli *c)
{
    int code =
        cli_confirm(c, "May senders have what the cluster does not know to be used? What lost nodes admitted "
                       "since the state was saved is not counted.");
    return code != 0 ? code
                     : cli_post(c, "/v1/limits/reopen", json_object(),
                                "limits count what is known; it is in the audit trail");
}

int cmd_cluster_raise(struct cli *c)
{
    json_t *body = json_object(), *j = NULL;
    int code = cli_put_number(c, body, "level", c->nargs > 0 ? c->args[0] : NULL);
    if (code == 0)
        code = client_json(c, "/v1/cluster/raise", body, &j);
    if (code == 0 && c->json)
        cli_print_json(j);
    else if (code == 0)
        printf("feature level %" PRId64 " is in force; versions that cannot do it can no longer join\n",
               cli_int(j, "features"));
    json_decref(body);
    json_decref(j);
    return code;
}
