set(machine_sources store.c machine.c machine_result.c session.c session_record.c quota.c quota_record.c
  quota_restore.c quota_ring.c quota_read.c freeze.c lease.c)
