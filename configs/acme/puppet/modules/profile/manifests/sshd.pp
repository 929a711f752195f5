# @summary sshd: keys only, never root. Servers behind the bastion listen to the bastion only.
# @param forwarding what AllowTcpForwarding says
class profile::sshd (
  Enum['no', 'local'] $forwarding = 'no',
) {
  $is_bastion = $facts['hallmark_role'] == 'bastion'
  # While an image is baked the builder comes from elsewhere, and with a key alone.
  $second_factor = $is_bastion and profile::launched()
  $only_from = ($is_bastion or !profile::launched()) ? {
    true    => undef,
    default => $facts['hallmark']['bastion'],
  }

  package { 'openssh-server':
    ensure => installed,
  }

  -> file { '/etc/ssh/sshd_config.d/10-acme.conf':
    ensure       => file,
    mode         => '0644',
    content      => epp('profile/sshd.conf.epp', {
      'forwarding'    => $forwarding,
      'second_factor' => $second_factor,
      'only_from'     => $only_from,
    }),
    validate_cmd => '/usr/sbin/sshd -t -f %',
  }

  ~> service { 'ssh':
    ensure  => running,
    enable  => true,
    restart => '/bin/systemctl reload ssh.service',
  }
}
