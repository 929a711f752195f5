# @summary What every server has.
# @param packages tools that administrators expect everywhere
class profile::base (
  Array[String] $packages = ['curl', 'less', 'lsof', 'rsync'],
) {
  package { $packages:
    ensure          => installed,
    install_options => ['--no-install-recommends'],
  }

  # Servers provision themselves; an agent that looks for a Puppet server would only complain.
  service { 'puppet':
    ensure => stopped,
    enable => false,
  }

  file { '/etc/default/locale':
    ensure  => file,
    content => "LANG=C.UTF-8\n",
    mode    => '0644',
  }

  file { '/etc/motd':
    ensure  => file,
    content => "Acme hosting: ${facts['hallmark_role']}. Changes by hand do not last.\n",
    mode    => '0644',
  }

  if profile::launched() {
    $others = $facts['hallmark']['peers'].filter |$name, $peer| { $name != $facts['hallmark']['server'] }
    $others.each |$name, $peer| {
      host { $name:
        ip => $peer['address'],
      }
    }
  }
}
