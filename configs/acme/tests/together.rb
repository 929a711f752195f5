# Checks that the parts of this repository that name each other agree.
require 'yaml'

@failures = []
def check(condition, message)
  @failures << message unless condition
end

product = YAML.load_file('hallmark.yaml')
roles = product['roles'].keys

roles.each do |role|
  check File.exist?("puppet/modules/role/manifests/#{role}.pp"), "role #{role} has no class role::#{role}"
  %w[smoke build].each do |tier|
    check File.exist?("suites/#{tier}/#{role}.yaml"), "role #{role} has no suite of tier #{tier}"
  end
end

# Secrets that code asks for are generated (totp_seed always is), or lie in data: what a pity.
made = product['secrets'].map { |s| s['name'] }
data = Dir['puppet/data/**/*.yaml'].flat_map { |f| (YAML.load_file(f) || {}).keys }
given = made + ['totp_seed'] + data.filter_map { |key| key[/\Asecret::(\w+)\z/, 1] }
code = Dir['puppet/**/*.{pp,epp}'].map { |f| [f, File.read(f)] }
code.each do |file, text|
  text.scan(/secret::(\w+)/).flatten.each do |name|
    check given.include?(name), "#{file} asks for secret #{name}, which hallmark.yaml does not name"
  end
end
made.each do |name|
  check code.any? { |_, text| text.include?("secret::#{name}") }, "secret #{name} is used nowhere"
end

# Every class and template that is named exists.
code.each do |file, text|
  text.scan(/(?:include|contain) ((?:profile|role)::[\w:]+)/).flatten.each do |name|
    path = name.split('::')
    check File.exist?("puppet/modules/#{path[0]}/manifests/#{path[1..].join('/')}.pp"), "#{file} includes #{name}, which is nowhere"
  end
  text.scan(%r{epp\('profile/([\w.]+)'}).flatten.each do |name|
    check File.exist?("puppet/modules/profile/templates/#{name}"), "#{file} names template #{name}, which is nowhere"
  end
end

# Data is for parameters that exist.
Dir['puppet/data/**/*.yaml'].each do |file|
  (YAML.load_file(file) || {}).each_key do |key|
    next if key == 'lookup_options' || key.start_with?('secret::')

    *path, parameter = key.split('::')
    manifest = "puppet/modules/#{path[0]}/manifests/#{path[1..].join('/')}.pp"
    manifest = "puppet/modules/#{path[0]}/manifests/init.pp" if path.length == 1
    check File.exist?(manifest) && File.read(manifest).match?(/^\s.*\$#{parameter}\b/), "#{file}: #{key} is no parameter"
  end
end

# The procedure reaches every role.
procedure = YAML.load_file('release/procedure.yaml')
check procedure['steps'].map { |s| s['role'] }.sort == roles.sort, 'release/procedure.yaml: its steps do not name every role once'
procedure['tasks'].each { |t| check roles.include?(t['role']), "release/procedure.yaml: task \"#{t['name']}\" names no role" }

unless @failures.empty?
  warn @failures
  exit 1
end
