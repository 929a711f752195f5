# @summary Serves the customers' sites.
class role::web {
  include profile::base
  include profile::sshd
  include profile::admin
  include profile::web
  include profile::memcached
}
