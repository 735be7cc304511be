package deploy

func (s *scene) followRunbooks(p *prometheus) {}
