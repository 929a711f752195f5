# Every server knows its role from the facts that it was launched with.
include "role::${facts['hallmark_role']}"
